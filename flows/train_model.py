"""Flow `train`: a model from artifacts, and its score."""

from __future__ import annotations

from dataclasses import replace

from artifacts.artifact import Artifact, Outcome
from artifacts.store import Store
from flows.orchestration.console import console, progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.specs.train import TrainSpec
from flows.orchestration.start import start_of_recipe
from flows.orchestration.train_inputs import exact, train_inputs
from training.config.run import RunConfig
from training.data.checks import check_inputs
from training.data.inputs import TrainInputs, clip_identity
from training.launch.launch import evaluate
from training.launch.launch import train as train_job
from training.loop.earlier import made_by_other_code
from training.models.registry import recipe


@task
def complete_texts_task(store: str, spec: TrainSpec) -> list[JobReport]:
    """Embed texts that the recipe needs and mining did not: `text_embeddings`."""
    target = Store(store)
    made = {
        str(outcome.artifact.ref): outcome
        for config in spec.stages
        for outcome in _inputs(target, spec, config)[1]
    }
    return [job_report(outcome) for outcome in made.values()]


@task
def train_task(store: str, spec: TrainSpec) -> list[JobReport]:
    """Train: a `training_run`, or several where a recipe has stages."""
    target, stages = Store(store), spec.stages
    read = _all_inputs(target, spec)
    start, made = _start(target, spec, read[0]), list[JobReport]()
    for advice in dict.fromkeys(map(_advice, read, stages)):
        if advice is not None:
            console.print(advice, markup=False, soft_wrap=True)
    for number, (found, config) in enumerate(zip(read, stages, strict=True), start=1):
        inputs = replace(found, start=start)
        last = number == len(stages)
        name = spec.run_name if last else f"{spec.run_name}-stage{number}"
        if said := made_by_other_code(target, inputs.run_key(config, name)):
            console.print(said, markup=False, soft_wrap=True)
        with progress("training steps" if last else f"training steps of stage {number}") as advance:
            outcome = train_job(target, inputs, config, name, advance, spec.runtime)
        start = outcome.artifact
        made.append(job_report(outcome))
    return made


@task
def evaluate_task(store: str, spec: TrainSpec, run: str) -> list[JobReport]:
    """Score the run: `predictions` and `metrics`."""
    target = Store(store)
    inputs, _ = _inputs(target, spec, spec.config)
    split = scored_split(inputs.videos, spec.split)
    with progress(f"scoring {split} videos") as advance:
        outcomes = evaluate(
            target, target.get(run), inputs, split, progress=advance, runtime=spec.runtime
        )
    return [job_report(outcome) for outcome in outcomes]


@flow(name="train")
def train(store: str, spec: TrainSpec) -> list[JobReport]:
    """Train and score a model: `training_run`, `predictions`, `metrics`; first texts it lacks."""
    dataset = exact(Store(store), spec.dataset, spec.stages)
    spec = spec.model_copy(update={"dataset": dataset})
    texts = complete_texts_task(store, spec)
    runs = train_task(store, spec)
    return [*texts, *runs, *evaluate_task(store, spec, runs[-1].ref)]


def _inputs(store: Store, spec: TrainSpec, config: RunConfig) -> tuple[TrainInputs, list[Outcome]]:
    device = spec.runtime.device or "cpu"
    return train_inputs(store, spec.dataset, config, spec.clip, spec.videos, device)


def _advice(inputs: TrainInputs, config: RunConfig) -> str | None:
    mined = config.model.mined
    given = (config.model.setting(mined), config.optim.batch_size)
    return mined.advice(*given, inputs.classes.manifest.num_rows)


def _start(store: Store, spec: TrainSpec, inputs: TrainInputs) -> Artifact | None:
    """The run that the first stage starts from; None: CLIP's weights."""
    if spec.start is not None:
        return None if spec.start == "none" else store.get(f"training_run/{spec.start}")
    if (wanted := spec.chosen.start) is None:
        return None
    return start_of_recipe(store, spec.recipe, recipe(wanted), clip_identity(inputs.texts))


def _all_inputs(store: Store, spec: TrainSpec) -> list[TrainInputs]:
    """Inputs of every stage, checked before the time is spent on the first; no start among them.

    Raises:
        ValueError: a stage's are missing, stale or mixed.
    """
    found = [_inputs(store, spec, config)[0] for config in spec.stages]
    for number, (inputs, config) in enumerate(zip(found, spec.stages, strict=True), start=1):
        try:
            check_inputs(inputs, config)
        except ValueError as error:
            if len(found) == 1:
                raise
            raise ValueError(f"stage {number}: {error}") from error
    scored_split(found[-1].videos, spec.split)
    return found


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
