"""Flow `train`: a model from artifacts, and its score."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from artifacts.artifact import Artifact, Outcome
from artifacts.store import Store
from flows.orchestration.console import progress
from flows.orchestration.flow import flow
from flows.orchestration.report import Step, step
from flows.orchestration.train_inputs import train_inputs
from knowledge.clip.weights import ClipSpec
from training.config.overrides import override
from training.config.run import RunConfig
from training.config.runtime import RuntimeConfig
from training.data.inputs import TrainInputs
from training.launch.launch import evaluate
from training.launch.launch import train as train_job
from training.models.recipe import on_stickworld
from training.models.registry import recipe


class TrainSpec(BaseModel):
    """Which recipe to train on which dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """Mined dataset: NAME (the newest) or NAME@KEY of its `negatives`; a registered one where the
    recipe takes videos and no negatives."""
    recipe: str = "mgdm_small"
    data: Literal["stickworld"] | None = None
    """`stickworld`: keep the recipe's method and bring the rest to the demo world's scale."""
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
    runtime: RuntimeConfig = RuntimeConfig()
    """How it is carried out; changes nothing in what comes out."""

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
        chosen = recipe(self.recipe)
        if self.data == "stickworld":
            chosen = on_stickworld(chosen)
        return override(chosen.config, self.settings)


@task(cache_policy=NO_CACHE)
def embed_texts_task(store: str, spec: TrainSpec) -> list[Step]:
    """Embed texts that the recipe needs and mining did not: `text_embeddings`."""
    return [step(outcome) for outcome in _inputs(Store(store), spec)[1]]


@task(cache_policy=NO_CACHE)
def train_task(store: str, spec: TrainSpec) -> Step:
    """Train: `training_run`."""
    target, config = Store(store), spec.config
    with progress("training steps") as advance:
        inputs, _ = _inputs(target, spec)
        scored_split(inputs.videos, spec.split)  # before the time is spent
        return step(train_job(target, inputs, config, spec.run_name, advance, spec.runtime))


@task(cache_policy=NO_CACHE)
def evaluate_task(store: str, spec: TrainSpec, run: str) -> list[Step]:
    """Score the run: `predictions` and `metrics`."""
    target = Store(store)
    inputs, _ = _inputs(target, spec)
    split = scored_split(inputs.videos, spec.split)
    with progress(f"scoring {split} videos") as advance:
        outcomes = evaluate(
            target, target.get(run), inputs, split, progress=advance, runtime=spec.runtime
        )
    return [step(outcome) for outcome in outcomes]


@flow(name="train")
def train(store: str, spec: TrainSpec) -> list[Step]:
    """Train and score a model: `training_run`, `predictions`, `metrics`; first texts it lacks."""
    texts = embed_texts_task(store, spec)
    run = train_task(store, spec)
    return [*texts, run, *evaluate_task(store, spec, run.ref)]


def _inputs(store: Store, spec: TrainSpec) -> tuple[TrainInputs, list[Outcome]]:
    device = spec.runtime.device or "cpu"
    return train_inputs(store, spec.dataset, spec.config, spec.clip, spec.videos, device)


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
