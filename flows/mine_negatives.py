"""Flow `mine`: videos and class texts to embeddings, embeddings to ranked hard negatives."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

from artifacts.artifact import Artifact
from artifacts.files import HeldError
from artifacts.frozen import Frozen
from artifacts.jobs import Progress, make_parts
from artifacts.store import Store
from flows.orchestration.console import console, progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.resolve import classes_of, newest_of
from flows.orchestration.runners import Workers, run_job
from flows.orchestration.specs.mine import MineSpec
from knowledge.clip.lazy import LazyClip
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.config import (
    is_corpus_file,
)
from knowledge.embedding.corpus_texts import corpus_embeddings
from knowledge.embedding.frames import FrameJob
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import MiningJob


class MiningOrder(Frozen):
    """What a `MiningJob` is made of, by ref."""

    videos: str
    frames: str
    texts: tuple[str, ...]
    cooccurrence: str | None
    config: MiningConfig
    device: str


@task
def embed_texts_task(store: str, spec: MineSpec) -> list[JobReport]:
    """Embed the dataset's class texts and those of each further corpus."""
    target = Store(store)
    clip = LazyClip(spec.clip, spec.device)
    own = _own_classes(target, spec)
    descriptions = _knowledge(target, "descriptions", spec, own)
    made = [text_embeddings(target, clip, own, descriptions, spec.template)]
    for name in spec.corpus:
        if is_corpus_file(name):
            with progress(f"encoding the texts of {name}") as advance:
                path = Path(name).expanduser()
                texts, precision = spec.corpus_texts, spec.encoding.precision
                made.append(corpus_embeddings(target, clip, path, texts, advance, precision))
        elif name != own.manifest.name:
            listed = classes_of(target, name)
            made.append(text_embeddings(target, clip, listed, None, spec.template))
    return [job_report(outcome) for outcome in made]


@task
def embed_frames_task(store: str, spec: MineSpec, workers: Workers) -> JobReport | None:
    """Decode and embed the videos: `frame_embeddings`."""
    what, given = "decoding and encoding videos", {"store": store, "spec": spec}
    return run_job(workers, _frame_job(store, spec), embed_frames, what, **given)


@task
def mine_task(store: str, order: MiningOrder, spec: MineSpec, workers: Workers) -> JobReport | None:
    """Rank the hard negatives: `negatives`."""
    what, given = "mining negatives", {"store": store, "order": order, "spec": spec}
    try:
        return run_job(workers, _mining_job(store, order), mine_videos, what, **given)
    finally:
        _mining_job.cache_clear()


def embed_frames(store: str, spec: MineSpec, part_numbers: list[int]) -> dict[str, int]:
    """Decode and embed the videos of some parts; the work that took."""
    with _shown(spec, "decoding and encoding videos") as advance:
        return dict(
            make_parts(_frame_job(store, spec), part_numbers, advance, alone=spec.runner.is_alone)
        )


def mine_videos(
    store: str, order: MiningOrder, spec: MineSpec, part_numbers: list[int]
) -> dict[str, int]:
    """Rank the hard negatives of the videos of some parts; the work that took."""
    with _shown(spec, "mining negatives") as advance:
        return dict(
            make_parts(_mining_job(store, order), part_numbers, advance, alone=spec.runner.is_alone)
        )


@flow(name="mine")
def mine(store: str, spec: MineSpec) -> list[JobReport]:
    """Mine hard negatives: `text_embeddings`, `frame_embeddings` and `negatives` of the dataset.

    With `runner.shard`, what other shards have yet to make is printed and left out; the last
    report is of the `negatives` only when they are made.
    """
    store, spec = _on_workers(store, spec)
    texts = _texts(store, spec)
    with Workers(spec.runner) as workers:
        frames = embed_frames_task(store, spec, workers)
        if texts is None and frames:
            texts = _texts(store, spec)
        if texts is None or frames is None:
            return [*(texts or []), *([frames] if frames else [])]
        order = _order(store, spec, frames.ref, texts)
        negatives = mine_task(store, order, spec, workers)
    return [*texts, frames, *([negatives] if negatives else [])]


def _order(store: str, spec: MineSpec, frames: str, texts: list[JobReport]) -> MiningOrder:
    target = Store(store)
    found = _knowledge(target, "cooccurrence", spec, _own_classes(target, spec))
    return MiningOrder(
        videos=f"videos/{spec.dataset}",
        frames=frames,
        texts=tuple(each.ref for each in texts),
        cooccurrence=found and str(found.ref),
        config=spec.mining,
        device=spec.device,
    )


@lru_cache(maxsize=1)
def _mining_job(store: str, order: MiningOrder) -> MiningJob:
    """The job; a worker that makes several of its shards reads the texts once."""
    target = Store(store)
    return MiningJob(
        target,
        target.get(order.videos),
        target.get(order.frames),
        tuple(map(target.get, order.texts)),
        order.config,
        target.get(order.cooccurrence) if order.cooccurrence else None,
        order.device,
    )


def _frame_job(store: str, spec: MineSpec) -> FrameJob:
    target = Store(store)
    clip = LazyClip(spec.clip, spec.device)
    videos = target.get(f"videos/{spec.dataset}")
    return FrameJob(target, clip, videos, spec.videos, spec.frames, spec.encoding.resolved(clip))


def _texts(store: str, spec: MineSpec) -> list[JobReport] | None:
    """The text embeddings; None if another shard is making them, which is printed."""
    try:
        return embed_texts_task(store, spec)
    except HeldError as error:
        if not spec.runner.shard:
            raise
        console.print(str(error))
        return None


def _on_workers(store: str, spec: MineSpec) -> tuple[str, MineSpec]:
    """The same wherever shards run: absolute paths, a full ref, the precision of this machine."""
    dataset = Store(store).get(f"videos/{spec.dataset}").ref
    changes: dict[str, object] = {"dataset": f"{dataset.name}@{dataset.key}"}
    if spec.runner.is_cluster:
        encoding = spec.encoding.resolved(LazyClip(spec.clip, spec.device))
        num_workers = spec.encoding.num_workers or 1  # each shard takes one core
        changes["encoding"] = encoding.model_copy(update={"num_workers": num_workers})
        changes["videos"] = spec.videos.absolute()
        changes["clip"] = spec.clip.absolute()
    return spec.runner.shared_store(store), spec.model_copy(update=changes)


def _shown(spec: MineSpec, what: str) -> AbstractContextManager[Progress | None]:
    """Progress of a shard; on a cluster the flow shows that of all shards."""
    return nullcontext() if spec.runner.is_cluster else progress(what)


def _own_classes(store: Store, spec: MineSpec) -> Artifact:
    return store.get(store.get(f"videos/{spec.dataset}").manifest.inputs["classes"].ref)


def _knowledge(store: Store, kind: str, spec: MineSpec, own: Artifact) -> Artifact | None:
    if spec.knowledge is None:
        return newest_of(store, kind, own.manifest.name, classes=own)
    return store.get(spec.knowledge[kind]) if kind in spec.knowledge else None
