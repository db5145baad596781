"""Flow `mine`: videos and class texts to embeddings, embeddings to ranked hard negatives."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from artifacts.store import Artifact, Store
from flows.resolve import classes_of, newest_of
from flows.steps import Step, progress, step
from knowledge.clip import ClipSpec, LazyClip
from knowledge.embedding import PROMPT, FrameConfig, frame_embeddings, text_embeddings
from knowledge.mining import MiningConfig
from knowledge.mining import mine as mine_job


class MineSpec(BaseModel):
    """What to mine, with which model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """Registered dataset: NAME (the newest) or NAME@KEY of its `videos`."""
    videos: Path
    """Directory its videos are in."""
    clip: ClipSpec
    corpus: tuple[str, ...] = ()
    """Further class lists to take negatives from, beside the dataset's own classes."""
    knowledge: dict[str, str] | None = None
    """Refs of the classes' `descriptions` and `cooccurrence`, by kind, those not named being left
    out; the newest of these classes when None."""
    template: str = PROMPT
    frames: FrameConfig = FrameConfig()
    mining: MiningConfig = MiningConfig()
    device: str = "cpu"


@task(cache_policy=NO_CACHE)
def embed_texts_task(store: str, spec: MineSpec) -> list[Step]:
    """Embed the dataset's class texts and those of each further corpus."""
    target = Store(store)
    clip = LazyClip(spec.clip, spec.device)
    own = _own_classes(target, spec)
    descriptions = _knowledge(target, "descriptions", spec, own)
    made = [text_embeddings(target, clip, own, descriptions, spec.template)]
    for name in spec.corpus:
        if name != own.manifest.name:
            made.append(
                text_embeddings(target, clip, classes_of(target, name), None, spec.template)
            )
    return [step(outcome) for outcome in made]


@task(cache_policy=NO_CACHE)
def embed_frames_task(store: str, spec: MineSpec) -> Step:
    """Decode and embed the dataset's videos."""
    target = Store(store)
    with progress("decoding and encoding videos") as advance:
        videos = target.get(f"videos/{spec.dataset}")
        clip = LazyClip(spec.clip, spec.device)
        return step(frame_embeddings(target, clip, videos, spec.videos, spec.frames, advance))


@task(cache_policy=NO_CACHE)
def mine_task(store: str, spec: MineSpec, frames: str, texts: list[str]) -> Step:
    """Rank each video's hard negatives."""
    target = Store(store)
    videos = target.get(f"videos/{spec.dataset}")
    own = _own_classes(target, spec)
    cooccurrence = _knowledge(target, "cooccurrence", spec, own)
    corpora = [target.get(ref) for ref in texts]
    outcome = mine_job(target, videos, target.get(frames), corpora, spec.mining, cooccurrence)
    return step(outcome)


@flow(name="mine")
def mine(store: str, spec: MineSpec) -> list[Step]:
    """Mine hard negatives: `text_embeddings`, `frame_embeddings` and `negatives` of the dataset."""
    texts = embed_texts_task(store, spec)
    frames = embed_frames_task(store, spec)
    negatives = mine_task(store, spec, frames.ref, [each.ref for each in texts])
    return [*texts, frames, negatives]


def _own_classes(store: Store, spec: MineSpec) -> Artifact:
    return store.get(store.get(f"videos/{spec.dataset}").manifest.inputs["classes"].ref)


def _knowledge(store: Store, kind: str, spec: MineSpec, own: Artifact) -> Artifact | None:
    if spec.knowledge is None:
        return newest_of(store, kind, own.manifest.name, classes=own)
    return store.get(spec.knowledge[kind]) if kind in spec.knowledge else None
