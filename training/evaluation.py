"""What a trained model is worth on a split: predictions and metrics under each protocol.

Every readable video of the split is scored exactly once; the others are counted.

Legend: B videos, T frames, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F

from artifacts.provenance import InputRef, Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from training import checkpoint
from training.assembly import RunModel, assemble, default_device
from training.batches import (
    CachedClips,
    ClassList,
    ClipSource,
    VideoSet,
    chunks,
    read_classes,
    read_videos,
)
from training.config import MgdmConfig, RunConfig, parse
from training.inputs import TrainInputs, check_inputs, clip_identity
from training.losses import full_precision
from training.metrics import TopK, accuracies

NUM_TOP = 5
"""Classes stored per prediction."""
ZERO_SHOT_SCALE = 100.0
"""Factor on cosines in zero-shot probabilities, CLIP's own."""

Classifier = Callable[[torch.Tensor], torch.Tensor]
"""CLIP features (B, T, D) to logits (B, K)."""


@dataclass(frozen=True)
class _Pass:
    """Protocols that read the same clips."""

    model: RunModel | None
    """Encodes the clips; None where they are features already."""
    source: ClipSource
    videos: VideoSet
    classifiers: dict[str, Classifier]


def evaluate(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    split: str,
    name: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    device: str | None = None,
) -> tuple[Outcome, Outcome]:
    """Score a split with a trained model and, for comparison, with frozen CLIP.

    Protocols: `mgdm/CONTEXT` for each inference context (`mgdm` alone without discriminator),
    `zero_shot/prompt`, and `zero_shot/description` where there are descriptions; a class without
    one keeps its prompt and is counted. Where the image tower was trained, zero-shot needs
    `inputs.frames`. Metrics: `top1`, `top5`, and `unreadable`, the share of the split's videos that
    could not be scored. The dataset may be another than the run's, the CLIP model may not.

    Args:
        store: where to look and publish.
        run: the `training_run`.
        inputs: as for training; negatives and corpora are not read.
        split: train, val or test.
        name: of the two artifacts; the run's name and the split when None.
        progress: called with videos scored and in total, over all passes.
        device: `cpu`, `cuda`, ...; the first CUDA device if there is one when None.

    Returns:
        `predictions` and `metrics`.

    Raises:
        ValueError: a split without videos, inputs that do not belong together or to the run, or
            more unreadable videos than the run's config allows.
    """
    saved, config = load_run(run, inputs)
    name = name or f"{run.manifest.name}-{split}"
    origin = Provenance(
        kind="predictions",
        name=name,
        config={"split": split, "num_top": NUM_TOP},
        inputs=_used(run, inputs),
    )
    if found := store.find(origin):
        return Outcome(found, made=False), _measure(store, name, split, found)
    target = torch.device(device) if device else default_device()
    classes = read_classes(inputs.classes, inputs.texts)
    passes = _passes(inputs, config, saved, split, classes, target)
    rows = _score(passes, classes, config, target, progress)
    table = pa.Table.from_pylist(rows, schema=schema_of("predictions").arrow())
    predictions = store.publish(origin, table, _counts(passes, classes))
    work = {
        "videos_scored": sum(len(each.videos) for each in passes),
        "videos_decoded": sum(each.source.num_decoded for each in passes),
    }
    return Outcome(predictions, made=True, work=work), _measure(store, name, split, predictions)


def load_run(run: Artifact, inputs: TrainInputs) -> tuple[checkpoint.Checkpoint, RunConfig]:
    """A run's weights and config, after checking that the inputs can be scored with them.

    Raises:
        ValueError: inputs that do not belong together or to the run.
        CorruptArtifactError: the checkpoint is damaged.
    """
    saved = checkpoint.load(run.read_file(checkpoint.FILE), str(run.ref))
    config = parse(saved.facts["config"])
    check_inputs(inputs, config, training=False)
    if saved.facts["clip"] != clip_identity(inputs.texts):
        raise ValueError(
            f"{inputs.texts.ref} was made with another CLIP than {run.ref}; run `actionlore mine` "
            f"with {saved.facts['clip']['arch']} and the weights of the run"
        )
    return saved, config


@torch.no_grad()
def top1(
    model: RunModel,
    source: ClipSource,
    videos: VideoSet,
    classes: ClassList,
    batch_size: int,
    device: torch.device,
) -> float:
    """Top-1 of a model in evaluation mode, with the config's inference context."""
    accuracy = TopK(len(classes.class_ids))
    classify = _method(model, classes, None, device)
    each = _Pass(model, source, videos, {"": classify})
    for index_B, probabilities in _probabilities(each, batch_size, device):
        truth_B = classes.positions(videos.class_ids_N[torch.from_numpy(index_B)])
        accuracy.update(probabilities[""], truth_B)
    return accuracy.compute()["top1"]


def zero_shot(features_BTD: torch.Tensor, texts_KD: torch.Tensor) -> torch.Tensor:
    """Frozen CLIP's logits (B, K): 100 cos(mean of unit frames, text), as mining measures it."""
    with torch.autocast(features_BTD.device.type, enabled=False):
        features_BTD = full_precision(features_BTD)
        video_BD = F.normalize(F.normalize(features_BTD, dim=-1).mean(dim=1), dim=-1)
        return ZERO_SHOT_SCALE * video_BD @ F.normalize(texts_KD, dim=-1).T


def contexts(config: MgdmConfig) -> dict[str, str | None]:
    """Inference contexts that differ for a model, by protocol name."""
    if config.no_discriminator:
        return {"mgdm": None}
    names = ["all", "self", *(["neighbours"] if config.negatives.k else [])]
    return {f"mgdm/{name}": name for name in names}


def _passes(
    inputs: TrainInputs,
    config: RunConfig,
    saved: checkpoint.Checkpoint,
    split: str,
    classes: ClassList,
    device: torch.device,
) -> list[_Pass]:
    cached = CachedClips(inputs.frames) if inputs.frames is not None else None
    from_videos = config.data.features == "videos"
    videos = read_videos(inputs, config, split, None if from_videos else cached)
    model, source = assemble(inputs, config, None if from_videos else cached, device)
    checkpoint.restore(model, saved.tensors, set(model.trained_state()))
    model.eval()
    methods = {
        protocol: _method(model, classes, context, device)
        for protocol, context in contexts(config.model).items()
    }
    frozen = {"zero_shot/prompt": _zero_shot(classes.prompts_KD, device)}
    if classes.descriptions_KD is not None:
        frozen["zero_shot/description"] = _zero_shot(classes.descriptions_KD, device)
    if model.tower is None or not model.tower.trained:
        return [_Pass(model, source, videos, methods | frozen)]
    passes = [_Pass(model, source, videos, methods)]
    if cached is not None:
        passes.append(_Pass(None, cached, read_videos(inputs, config, split, cached), frozen))
    return passes


@torch.no_grad()
def _method(model: RunModel, classes: ClassList, context: Any, device: torch.device) -> Classifier:
    texts = model.head.class_texts(classes.prompts_KD.to(device), context)
    return lambda features_BTD: model.head.classify(features_BTD, texts)


def _zero_shot(texts_KD: torch.Tensor, device: torch.device) -> Classifier:
    texts_KD = texts_KD.to(device)
    return lambda features_BTD: zero_shot(features_BTD, texts_KD)


@torch.no_grad()
def _probabilities(
    each: _Pass, batch_size: int, device: torch.device
) -> Iterator[tuple[Any, dict[str, torch.Tensor]]]:
    """Index (B,) of videos and their class probabilities (B, K) on the CPU, by protocol."""
    order = np.arange(len(each.videos))
    for index_B, clips in each.source.stream(each.videos, chunks(order, batch_size), None):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            clips = clips.to(device)
            features_BTD = clips if each.model is None else each.model.encode(clips)
            logits = {name: classify(features_BTD) for name, classify in each.classifiers.items()}
        yield index_B, {name: each_BK.float().softmax(1).cpu() for name, each_BK in logits.items()}


def _score(
    passes: list[_Pass],
    classes: ClassList,
    config: RunConfig,
    device: torch.device,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    """Rows of `predictions`."""
    rows: list[dict[str, Any]] = []
    total, done = sum(len(each.videos) for each in passes), 0
    for each in passes:
        for index_B, probabilities in _probabilities(each, config.eval.batch_size, device):
            for name, found_BK in probabilities.items():
                rows += _rows(name, each.videos, index_B.tolist(), found_BK, classes)
            done += len(index_B)
            if progress:
                progress(done, total)
    return rows


def _rows(
    protocol: str, videos: VideoSet, index: list[int], found_BK: torch.Tensor, classes: ClassList
) -> Iterator[dict[str, Any]]:
    best_BK, order_BK = found_BK.sort(dim=1, descending=True, stable=True)
    for i, best, order in zip(
        index, best_BK[:, :NUM_TOP].tolist(), order_BK[:, :NUM_TOP].tolist(), strict=True
    ):
        yield {
            "protocol": protocol,
            "video_id": videos.video_ids[i],
            "class_ids": [int(videos.class_ids_N[i])],
            "top_class_ids": [classes.class_ids[position] for position in order],
            "top_probabilities": best,
        }


def _counts(passes: list[_Pass], classes: ClassList) -> dict[str, Any]:
    return {
        "protocols": [name for each in passes for name in each.classifiers],
        "videos_listed": passes[0].videos.num_listed,
        "videos_skipped": dict(passes[0].videos.skipped),
        "videos_unreadable": dict(passes[0].source.unreadable),
        "classes_without_description": classes.without_description,
        "zero_shot_omitted": not any("zero_shot/prompt" in each.classifiers for each in passes),
    }


def _measure(store: Store, name: str, split: str, predictions: Artifact) -> Outcome:
    """`metrics`, from the predictions alone."""
    provenance = Provenance(
        kind="metrics",
        name=name,
        config={"split": split},
        inputs=dict(inputs_of(predictions=predictions)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    table = predictions.read(["protocol", "class_ids", "top_class_ids"])
    rows = []
    for protocol in predictions.manifest.report["protocols"]:
        of_it = table.filter(pc.equal(table["protocol"], protocol)).to_pylist()
        values = accuracies([(row["class_ids"][0], row["top_class_ids"]) for row in of_it])
        listed = predictions.manifest.report["videos_listed"]
        counted = {metric: (value, len(of_it)) for metric, value in values.items()}
        counted["unreadable"] = ((listed - len(of_it)) / listed, listed)
        rows += [
            {
                "split": split,
                "protocol": protocol,
                "metric": metric,
                "value": value,
                "num_videos": n,
            }
            for metric, (value, n) in counted.items()
        ]
    rows_table = pa.Table.from_pylist(rows, schema=schema_of("metrics").arrow())
    report = {f"{row['protocol']} {row['metric']}": row["value"] for row in rows}
    report |= {
        name: predictions.manifest.report[name]
        for name in (
            "videos_skipped",
            "videos_unreadable",
            "classes_without_description",
            "zero_shot_omitted",
        )
    }
    return Outcome(store.publish(provenance, rows_table, report), made=True)


def _used(run: Artifact, inputs: TrainInputs) -> dict[str, InputRef]:
    return dict(
        inputs_of(
            run=run,
            classes=inputs.classes,
            videos=inputs.videos,
            texts=inputs.texts,
            frames=inputs.frames,
        )
    )
