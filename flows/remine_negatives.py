"""Flow `remine`: a trained run's embeddings of videos and texts to hard negatives of that run."""

from __future__ import annotations

from dataclasses import replace

from artifacts.artifact import Artifact
from artifacts.jobs import make_all
from artifacts.store import Store
from flows.orchestration.console import progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.resolve import newest_of
from flows.orchestration.specs.mine import RemineSpec
from knowledge.mining.job import MiningJob
from training.data.inputs import TrainInputs, own_inputs
from training.inference.reembedding import reembed


@task
def reembed_task(store: str, spec: RemineSpec) -> list[JobReport]:
    """Embed texts and videos with the run: `text_embeddings`, then `frame_embeddings`."""
    target = Store(store)
    run = target.get(spec.run if "/" in spec.run else f"training_run/{spec.run}")
    with progress("embedding videos with the trained model") as advance:
        texts, frames = reembed(
            target,
            run,
            _inputs(target, spec, run),
            spec.mining.splits,
            advance,
            spec.device,
        )
    return [job_report(outcome) for outcome in (*texts, frames)]


@task
def remine_task(store: str, spec: RemineSpec, frames: str, texts: list[str]) -> JobReport:
    """Rank each video's hard negatives."""
    target = Store(store)
    videos = target.get(f"videos/{spec.dataset}")
    classes = target.get(videos.manifest.inputs["classes"].ref)
    cooccurrence = newest_of(target, "cooccurrence", classes.manifest.name, classes=classes)
    corpora = tuple(target.get(ref) for ref in texts)
    given = (target, videos, target.get(frames), corpora, spec.mining, cooccurrence, spec.device)
    return job_report(make_all(MiningJob(*given)))


@flow(name="remine")
def remine(store: str, spec: RemineSpec) -> list[JobReport]:
    """Mine hard negatives with a trained run in place of frozen CLIP."""
    *texts, frames = reembed_task(store, spec)
    negatives = remine_task(store, spec, frames.ref, [each.ref for each in texts])
    return [*texts, frames, negatives]


def _inputs(store: Store, spec: RemineSpec, run: Artifact) -> TrainInputs:
    """What the run was trained on."""
    if run.manifest.kind != "training_run":
        raise ValueError(
            f"{run.ref} is no training_run; see `actionlore inspect list training_run`"
        )
    videos = store.get(f"videos/{spec.dataset}")
    used = run.manifest.inputs
    if used["videos"].content_hash != videos.manifest.content_hash:
        raise ValueError(
            f"{run.ref} was trained on {used['videos'].ref}, not on {videos.ref}; "
            f"give --dataset {used['videos'].ref.split('/')[1]}"
        )
    corpora = [role for role in used if role.startswith("corpus_")]
    return replace(
        own_inputs(store, run),
        videos=videos,
        corpora=tuple(store.get(used[role].ref) for role in sorted(corpora, key=_number)),
        clip=spec.clip,
        root=spec.videos,
    )


def _number(role: str) -> int:
    return int(role.removeprefix("corpus_"))
