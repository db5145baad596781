"""Flow `few-shot`: draw episodes from a dataset's split, and score a published run on them."""

from __future__ import annotations

from artifacts.artifact import Artifact, Outcome
from artifacts.store import Store
from flows.evaluation.evaluate_run import scoring_inputs
from flows.orchestration.console import progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.specs.evaluate import FewShotSpec
from training.data.inputs import TrainInputs
from training.evaluation.episodes import draw_episodes
from training.evaluation.few_shot import evaluate_few_shot


@task
def draw_episodes_task(store: str, spec: FewShotSpec) -> list[JobReport]:
    """Draw `episodes`; first texts that the dataset lacks."""
    target = Store(store)
    _, inputs, made = _inputs(target, spec)
    drawn = draw_episodes(target, inputs.videos, spec.episodes)
    return [job_report(outcome) for outcome in (*made, drawn)]


@task
def few_shot_task(store: str, spec: FewShotSpec, episodes: str) -> JobReport:
    """Score the run on the episodes: `metrics`."""
    target = Store(store)
    run, inputs, _ = _inputs(target, spec)
    with progress("embedding videos") as advance:
        given = (target, run, inputs, target.get(episodes))
        return job_report(evaluate_few_shot(*given, progress=advance, runtime=spec.runtime))


@flow(name="few-shot")
def few_shot(store: str, spec: FewShotSpec) -> list[JobReport]:
    """Score a run with few videos per class: `episodes`, `metrics`."""
    made = draw_episodes_task(store, spec)
    return [*made, few_shot_task(store, spec, made[-1].ref)]


def _inputs(store: Store, spec: FewShotSpec) -> tuple[Artifact, TrainInputs, list[Outcome]]:
    run = store.get(f"training_run/{spec.run}")
    device = spec.runtime.device or "cpu"
    return run, *scoring_inputs(store, run, spec.data, spec.clip, spec.videos, device)
