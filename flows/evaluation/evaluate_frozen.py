"""Flow `evaluate-frozen`: frozen CLIP on a registered dataset, without any run."""

from __future__ import annotations

from dataclasses import replace

from artifacts.store import Store
from flows.mine_negatives import embed_frames_task, embed_texts_task
from flows.orchestration.console import progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.runners import Workers
from flows.orchestration.specs.evaluate import FrozenSpec
from flows.orchestration.specs.mine import MineSpec
from flows.train_model import scored_split
from knowledge.clip.lazy import LazyClip
from knowledge.embedding.config import EncodingOptions
from knowledge.embedding.templates import template_embeddings
from training.data.inputs import TrainInputs
from training.evaluation.frozen import evaluate_frozen as evaluate_job


@task
def embed_templates_task(store: str, spec: FrozenSpec) -> JobReport:
    """Embed the classes under every template."""
    target = Store(store)
    classes = target.get(target.get(f"videos/{spec.data}").manifest.inputs["classes"].ref)
    clip = LazyClip(spec.clip, spec.runtime.device or "cpu")
    return job_report(template_embeddings(target, clip, classes, spec.templates))


@task
def evaluate_frozen_task(
    store: str, spec: FrozenSpec, texts: str, frames: str, templates: str | None
) -> list[JobReport]:
    """Score the split: `predictions` and `metrics`."""
    target = Store(store)
    videos = target.get(f"videos/{spec.data}")
    classes = target.get(videos.manifest.inputs["classes"].ref)
    inputs = TrainInputs(classes, videos, target.get(texts), target.get(frames))
    if templates:
        inputs = replace(inputs, templates=target.get(templates))
    split = scored_split(videos, spec.split)
    name = f"{videos.manifest.name}-frozen-{split}"
    with progress(f"scoring {split} videos") as advance:
        made = evaluate_job(target, inputs, split, name, advance, spec.runtime.device)
    return [job_report(outcome) for outcome in made]


@flow(name="evaluate-frozen")
def evaluate_frozen(store: str, spec: FrozenSpec) -> list[JobReport]:
    """Score frozen CLIP: embeddings that are not there yet, `predictions` and `metrics`."""
    videos = Store(store).get(f"videos/{spec.data}")
    scored_split(videos, spec.split)
    spec = spec.model_copy(update={"data": str(videos.ref).split("/")[1]})
    encoding = EncodingOptions(precision=spec.precision, num_workers=spec.runtime.workers or None)
    embedding = MineSpec(
        dataset=spec.data,
        videos=spec.videos,
        clip=spec.clip,
        frames=spec.frames,
        encoding=encoding,
        device=spec.runtime.device or "cpu",
    )
    made = embed_texts_task(store, embedding)
    texts, templates = made[0].ref, None
    if spec.templates:
        made.append(embed_templates_task(store, spec))
        templates = made[-1].ref
    with Workers(embedding.runner) as workers:
        frames = embed_frames_task(store, embedding, workers)
    assert frames is not None  # no shard: all of it is made here
    return [*made, frames, *evaluate_frozen_task(store, spec, texts, frames.ref, templates)]
