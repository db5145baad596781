"""Flow `evaluate`: score a published run, on its own dataset or on another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from artifacts.artifact import Artifact, Outcome
from artifacts.store import Store
from flows.orchestration.console import progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.specs.evaluate import EvaluateSpec
from flows.orchestration.train_inputs import bundled_clip, train_inputs
from flows.train_model import scored_split
from knowledge.clip.weights import ClipSpec
from training.config.method_code import config_of
from training.data.inputs import TrainInputs, needs_clip, own_inputs
from training.launch.launch import evaluate as evaluate_job


@task
def evaluate_run_task(store: str, spec: EvaluateSpec) -> list[JobReport]:
    """Score the run: `predictions` and `metrics`; first texts that the dataset lacks."""
    target = Store(store)
    run = target.get(f"training_run/{spec.run}")
    device = spec.runtime.device or "cpu"
    inputs, made = scoring_inputs(target, run, spec.data, spec.clip, spec.videos, device)
    split = scored_split(inputs.videos, spec.split)
    other = f"-on-{spec.data.split('@')[0]}" if spec.data else ""
    name = f"{run.manifest.name}{other}-{split}"
    with progress(f"scoring {split} videos") as advance:
        made += evaluate_job(
            target, run, inputs, split, name, advance, spec.runtime, spec.views, spec.wise_ft
        )
    return [job_report(outcome) for outcome in made]


def scoring_inputs(
    store: Store,
    run: Artifact,
    data: str | None,
    clip: ClipSpec | None,
    videos: Path | None,
    device: str,
) -> tuple[TrainInputs, list[Outcome]]:
    """What scoring a run reads, and what had to be embedded for it.

    Args:
        store: where to look, and to publish texts.
        run: the `training_run`.
        data: dataset; the run's own when None.
        clip: the run's CLIP; the bundled one if it is that when None.
        videos: directory of the videos.
        device: where texts are embedded.

    Raises:
        ValueError: nothing of that name, or an option without effect.
    """
    config = config_of(run)
    if clip and not (needs_clip(config) or data):
        raise ValueError(f"--clip has no effect: {run.ref} takes the embeddings that are mined")
    if videos and config.data.features == "cached":
        raise ValueError(f"--videos has no effect: {run.ref} takes the embeddings that are mined")
    if data:
        return train_inputs(store, data, config, clip, videos, device, False)
    inputs = own_inputs(store, run)
    return replace(inputs, clip=clip or bundled_clip(inputs.texts), root=videos), []


@flow(name="evaluate")
def evaluate(store: str, spec: EvaluateSpec) -> list[JobReport]:
    """Score a run: `predictions` and `metrics`."""
    return evaluate_run_task(store, spec)
