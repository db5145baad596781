"""What a trained model is worth on a split: predictions and metrics under each protocol.

Every readable video of the split is scored exactly once; the others are counted.

Legend: N videos, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from artifacts.artifact import Artifact, Outcome
from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from artifacts.store import Store
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.class_list import ClassList, read_class_list
from training.data.inputs import TrainInputs
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.distributed.group import Group, current_group
from training.evaluation.scored import (
    Alphas,
    checked_config,
    metrics_key,
    trained_towers,
    what_is_scored,
)
from training.evaluation.scoring import Pass, check_readable, scored, zero_shot_classifier
from training.evaluation.task import task_of
from training.evaluation.wise_ft import clip_weights, interpolated, protocol_at
from training.models import weights as checkpoint
from training.models.build import assemble, default_device, restore
from training.models.method import Classifier, Method


def evaluate(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    split: str,
    name: str | None = None,
    progress: Progress | None = None,
    runtime: RuntimeOptions | None = None,
    views: str | None = None,
    wise_ft: Alphas = None,
) -> tuple[Outcome, Outcome]:
    """Score a split with a trained model and, for comparison, with frozen CLIP.

    Protocols: those of the model (`Method.protocols`), `zero_shot/prompt`, and
    `zero_shot/description` where there are descriptions; a class without one keeps its prompt and
    is counted. Where the image tower was trained, zero-shot needs `inputs.frames`. Metrics: `top1`
    and `top5`, or those of `multilabel_metrics` where videos have several classes; and
    `unreadable`, the share of the split's videos that could not be scored. The dataset may be
    another than the run's, the CLIP model may not. With WiSE-FT every protocol of the model appears
    once more for each alpha, as `PROTOCOL@ALPHA` (see `training.evaluation.wise_ft`). Under
    torchrun all processes call this with the same arguments.

    Args:
        store: where to look and publish.
        run: the `training_run`.
        inputs: as for training; negatives and corpora are not read.
        split: train, val or test.
        name: of the two artifacts; the run's name and the split when None.
        progress: called with videos scored and in total, over all passes.
        runtime: device and processes; not part of the key.
        views: clips x crops such as `4x3` instead of the run's `eval.views`.
        wise_ft: shares alpha of the trained weights in [0, 1]; none when empty. When None, 0.5 for
            a run that trained weights of CLIP and is scored on other classes than its own.

    Returns:
        `predictions` and `metrics`.

    Raises:
        ValueError: a split without videos, inputs that do not belong together or to the run, an
            alpha outside [0, 1] or without effect, or more unreadable videos than the run's config
            allows.
    """
    runtime = runtime or RuntimeOptions()
    origin, config = what_is_scored(run, inputs, split, name, views, wise_ft)
    name = origin.name
    if found := store.find(origin):
        return Outcome(found, made=False), measured(store, name, split, found, config)
    saved = checkpoint.load(run.read_file(checkpoint.FILE), str(run.ref))
    device = torch.device(runtime.device) if runtime.device else default_device()
    group = current_group(device, runtime.processes)
    classes = read_class_list(inputs, config)
    passes = read_passes(
        *(inputs, config, saved, split, classes, group.device, runtime.workers),
        own=lambda method: method.protocols(classes),
        frozen=frozen_protocols(classes, group.device),
        alphas=origin.config.get("wise_ft", ()),
    )
    rows = score_passes(passes, classes, config, group, progress)
    same_videos = run.manifest.inputs["videos"] == origin.inputs["videos"]
    chooses = config.eval.select is not None or bool(config.model.chosen_on_val)
    chosen_on = chooses and split == "val" and same_videos
    counts = counted(passes, classes, group, chosen_on)
    sources = {id(each.source): each.source for each in passes}.values()
    decoded = sum(sum(group.all_counts(each.num_decoded)) for each in sources)
    if group.is_first:
        store.publish(origin, table_of(rows), facts=counts)
    group.barrier()
    predictions = store.get(origin.ref)
    work = {
        "videos_scored": sum(len(each.videos) for each in passes),
        "videos_decoded": decoded,
    }
    metrics = measured(store, name, split, predictions, config) if group.is_first else None
    group.barrier()
    metrics = metrics or measured(store, name, split, predictions, config)
    return Outcome(predictions, made=True, work=work), metrics


def load_run(run: Artifact, inputs: TrainInputs) -> tuple[checkpoint.Checkpoint, RunConfig]:
    """A run's weights and config, after checking that the inputs can be scored with them.

    Raises:
        ValueError: inputs that do not belong together or to the run.
        CorruptArtifactError: the checkpoint is damaged.
    """
    saved = checkpoint.load(run.read_file(checkpoint.FILE), str(run.ref))
    return saved, checked_config(saved.facts, run, inputs)


def read_passes(
    inputs: TrainInputs,
    config: RunConfig,
    saved: checkpoint.Checkpoint,
    split: str,
    classes: ClassList,
    device: torch.device,
    workers: int,
    own: Callable[[Method], dict[str, Classifier]],
    frozen: dict[str, Classifier],
    alphas: Sequence[float] = (),
) -> list[Pass]:
    """The run's model and its source of clips; a source of its own for frozen CLIP where needed.

    Args:
        inputs: must have passed `check_inputs`.
        config: of the run.
        saved: its weights.
        split: of the videos.
        classes: of the inputs.
        device: where the model goes.
        workers: processes that decode videos; 0: threads of this one.
        own: protocols of the model, by name.
        frozen: protocols on frozen CLIP's features; left out where the run's image tower was
            trained and there are no cached frames.
        alphas: of WiSE-FT; the protocols of the model come once more for each.

    Raises:
        ValueError: a split without videos, or more unusable ones than the config allows.
    """
    cached = CachedClips(inputs.frames) if inputs.frames is not None else None
    from_videos = config.data.features == "videos"
    videos = read_videos(inputs, config, split, None if from_videos else cached)
    frames = None if from_videos else cached
    method, source = assemble(inputs, config, classes, frames, device, workers)
    towers = trained_towers(config, saved.facts) if alphas else frozenset()
    started = clip_weights(method, towers)
    restore(method, saved)
    method.eval()
    with torch.no_grad():
        protocols = own(method)
        apart: list[Pass] = []
        for alpha in alphas:
            between = interpolated(method, started, alpha)
            found = {protocol_at(name, alpha): each for name, each in own(between).items()}
            if "image" in towers:
                apart.append(Pass(between, source, videos, found))
            else:
                protocols |= found
    if method.zero_shot_features:
        return [Pass(method, source, videos, protocols | frozen)]
    passes = [Pass(method, source, videos, protocols), *apart]
    if cached is not None:
        passes.append(Pass(None, cached, read_videos(inputs, config, split, cached), frozen))
    return passes


def frozen_protocols(classes: ClassList, device: torch.device) -> dict[str, Classifier]:
    """Frozen CLIP's protocols."""
    frozen = {"zero_shot/prompt": zero_shot_classifier(classes.prompts_KD, device)}
    if classes.descriptions_KD is not None:
        frozen["zero_shot/description"] = zero_shot_classifier(classes.descriptions_KD, device)
    return frozen


def score_passes(
    passes: list[Pass],
    classes: ClassList,
    config: RunConfig,
    group: Group,
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """Rows of `predictions`."""
    rows: list[dict[str, Any]] = []
    task = task_of(config.model)
    total, done = sum(len(each.videos) for each in passes), 0
    for each in passes:

        def told(n: int, of: int, before: int = done, whole: int = len(each.videos)) -> None:
            if progress and group.is_first:
                progress(before + (whole * n) // max(of, 1), total)

        num_top = task.num_top(len(classes.class_ids))
        found = scored(each, num_top, config.eval.videos_per_pass, group, told)
        check_readable(each, found, config)
        for protocol in each.classifiers:
            rows += task.rows(protocol, each.videos, found, classes)
        done += len(each.videos)
    return rows


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """`predictions` of such rows."""
    return pa.Table.from_pylist(rows, schema=schema_of("predictions").arrow())


def counted(
    passes: list[Pass], classes: ClassList, group: Group, chosen_on: bool
) -> dict[str, Any]:
    """What the report of the predictions says."""
    videos = passes[0].videos
    said = group.all_gather_object(passes[0].source.unreadable)
    return {
        "weights_chosen_on_these_videos": chosen_on,
        "protocols": [name for each in passes for name in each.classifiers],
        "videos_listed": videos.num_listed,
        "videos_skipped": dict(videos.skipped),
        "videos_unreadable": {video: why for each in said for video, why in each.items()},
        "classes_without_description": classes.without_description,
        "zero_shot_omitted": not any("zero_shot/prompt" in each.classifiers for each in passes),
    }


def measured(
    store: Store, name: str, split: str, predictions: Artifact, config: RunConfig
) -> Outcome:
    """`metrics`, from the predictions alone."""
    provenance = metrics_key(name, split, predictions)
    if found := store.find(provenance):
        return Outcome(found, made=False)
    table = predictions.read(["protocol", "class_ids", "top_class_ids", "top_probabilities"])
    task = task_of(config.model)
    rows, by_protocol = [], dict[str, dict[str, float]]()
    for protocol in predictions.manifest.fact("protocols"):
        of_it = table.filter(pc.equal(table["protocol"], protocol)).to_pylist()
        values = task.measure(of_it)
        listed = predictions.manifest.fact("videos_listed")
        found_of = {metric: (value, len(of_it)) for metric, value in values.items()}
        found_of["unreadable"] = ((listed - len(of_it)) / listed, listed)
        by_protocol[protocol] = {metric: value for metric, (value, _) in found_of.items()}
        rows += [
            {
                "split": split,
                "protocol": protocol,
                "metric": metric,
                "value": value,
                "num_videos": n,
            }
            for metric, (value, n) in found_of.items()
        ]
    rows_table = pa.Table.from_pylist(rows, schema=schema_of("metrics").arrow())
    chosen_on = "weights_chosen_on_these_videos"
    report: dict[str, Any] = {chosen_on: bool(predictions.manifest.fact(chosen_on))}
    report["metrics"] = by_protocol
    report |= {
        name: predictions.manifest.fact(name)
        for name in (
            "videos_skipped",
            "videos_unreadable",
            "classes_without_description",
            "zero_shot_omitted",
        )
    }
    return Outcome(store.publish(provenance, rows_table, report), made=True)
