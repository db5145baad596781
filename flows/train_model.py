"""Flow `train`: a model from artifacts, and its score."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from artifacts.store import Artifact, Store
from flows.steps import Step, progress, step
from knowledge.clip import ClipSpec
from training.config import RunConfig, override
from training.evaluation import evaluate
from training.inputs import TrainInputs, before_reembedding
from training.recipes import recipe
from training.trainer import train as train_job


class TrainSpec(BaseModel):
    """Which recipe to train on which dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """Mined dataset: NAME (the newest) or NAME@KEY of its `negatives`."""
    recipe: str = "mgdm_small"
    settings: tuple[str, ...] = ()
    """Changes to the recipe, such as `model.negatives.k=3`."""
    videos: Path | None = None
    """Directory the videos are in; needed where data.features is videos."""
    clip: ClipSpec | None = None
    """Needed where data.features is videos."""
    name: str | None = None
    """Name of the run; DATASET-RECIPE when None."""
    split: str | None = None
    """Split to score; test, val or train, whichever exists first, when None."""
    device: str | None = None

    @property
    def run_name(self) -> str:
        """Name of the `training_run` artifact."""
        return self.name or f"{self.dataset.split('@')[0]}-{self.recipe}"

    @property
    def config(self) -> RunConfig:
        """The recipe with its changes.

        Raises:
            ValueError: unknown recipe or setting.
        """
        return override(recipe(self.recipe).config, self.settings)


@task(cache_policy=NO_CACHE)
def train_task(store: str, spec: TrainSpec) -> Step:
    """Train: `training_run`."""
    target, config = Store(store), spec.config
    with progress("training steps") as advance:
        inputs = _inputs(target, spec)
        scored_split(inputs.videos, spec.split)  # before the time is spent
        return step(train_job(target, inputs, config, spec.run_name, advance, spec.device))


@task(cache_policy=NO_CACHE)
def evaluate_task(store: str, spec: TrainSpec, run: str) -> list[Step]:
    """Score the run: `predictions` and `metrics`."""
    target = Store(store)
    inputs = _inputs(target, spec)
    split = scored_split(inputs.videos, spec.split)
    with progress(f"scoring {split} videos") as advance:
        outcomes = evaluate(
            target, target.get(run), inputs, split, progress=advance, device=spec.device
        )
    return [step(outcome) for outcome in outcomes]


@flow(name="train")
def train(store: str, spec: TrainSpec) -> list[Step]:
    """Train and score a model: `training_run`, `predictions`, `metrics`."""
    run = train_task(store, spec)
    return [run, *evaluate_task(store, spec, run.ref)]


def _inputs(store: Store, spec: TrainSpec) -> TrainInputs:
    """Everything the negatives were mined from, so that it fits together."""
    negatives = store.get(f"negatives/{spec.dataset}")
    made_from = {role: item.ref for role, item in negatives.manifest.inputs.items()}
    roles = [role for role in made_from if role.startswith("texts_")]
    refs = [made_from[role] for role in sorted(roles, key=lambda role: int(role[6:]))]
    texts = [found for ref in refs if (found := _of_clip(store, ref, "texts"))]
    videos = store.get(made_from["videos"])
    return TrainInputs(
        classes=store.get(videos.manifest.inputs["classes"].ref),
        videos=videos,
        texts=texts[0],
        frames=_of_clip(store, made_from["frames"], "frames"),
        negatives=negatives,
        corpora=tuple(texts[1:]),
        clip=spec.clip,
        root=spec.videos,
    )


def _of_clip(store: Store, ref: str, role: str) -> Artifact | None:
    """Embeddings of frozen CLIP, also where a run re-embedded them; None if it read videos."""
    artifact = store.get(ref)
    if "run" not in artifact.manifest.inputs:
        return artifact
    original = before_reembedding(artifact, role)
    return store.get(original.ref) if original else None


def scored_split(videos: Artifact, split: str | None) -> str:
    """The split to score: the one asked for, or test, val or train, whichever exists first.

    Raises:
        ValueError: the split asked for has no videos.
    """
    there = set(videos.read(["split"])["split"].to_pylist())
    if split and split not in there:
        raise ValueError(
            f"{videos.ref} has no videos in split {split!r}; it has {', '.join(sorted(there))}"
        )
    return split or next(each for each in ("test", "val", "train") if each in there)
