"""The training loop, from artifacts to a published `training_run`.

Weights stay float32; on CUDA the modules run under bfloat16 autocast while similarities and losses
keep full precision. Everything a resumed or distributed run would need is in `TrainState`.

Legend: B videos.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import torch

from artifacts.provenance import Provenance
from artifacts.schemas import schema_of
from artifacts.store import Outcome, Store
from training import checkpoint
from training.assembly import RunModel, assemble, default_device
from training.batches import (
    Batch,
    CachedClips,
    ClassList,
    ClipSource,
    Draw,
    VideoSet,
    chunks,
    epoch_order,
    make_batch,
    read_classes,
    read_videos,
)
from training.config import OptimConfig, RunConfig
from training.evaluation import top1
from training.inputs import TrainInputs, check_inputs, clip_identity
from training.models.mgdm import Pairs
from training.negatives import Negatives, read_negatives

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with steps done and steps in total."""


@dataclass(frozen=True, eq=False)
class TrainData:
    """What a run reads."""

    classes: ClassList
    videos: VideoSet
    negatives: Negatives
    val: VideoSet | None
    """None where the dataset has no `val` split."""
    cached: CachedClips | None


@dataclass
class TrainState:
    """Everything that changes while training."""

    model: RunModel
    optimizer: torch.optim.AdamW
    step: int = 0
    epoch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One per finished epoch, as `training_run` stores them."""
    epoch_s: list[float] = field(default_factory=list)


def train(
    store: Store,
    inputs: TrainInputs,
    config: RunConfig,
    name: str,
    progress: Progress | None = None,
    device: str | None = None,
) -> Outcome:
    """Train a model and publish it as `training_run/NAME`; found by its key, nothing is done.

    Args:
        store: where to look and publish.
        inputs: the artifacts, and CLIP and the videos where the config wants videos.
        config: the whole run.
        name: of the artifact; not part of its key.
        progress: called after each step.
        device: `cpu`, `cuda`, ...; the first CUDA device if there is one when None.

    Raises:
        ValueError: inputs that do not belong together or to the config, no video to train on, more
            unreadable videos than allowed, or a loss that is not finite.
    """
    check_inputs(inputs, config)
    provenance = Provenance(
        kind="training_run",
        name=name,
        config=config.model_dump(mode="json"),
        inputs=inputs.used(config),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    data = read_data(inputs, config)
    target = torch.device(device) if device else default_device()
    model, source = assemble(inputs, config, data.cached, target)
    state = TrainState(model, make_optimizer(model, config.optim))
    started = time.monotonic()
    while state.epoch < config.optim.epochs:
        train_epoch(state, data, source, config, target, progress)
    rows = pa.Table.from_pylist(state.rows, schema=schema_of("training_run").arrow())
    facts = {
        "config": provenance.config,
        "clip": clip_identity(inputs.texts),
        "dim": int(data.classes.prompts_KD.shape[1]),
    }
    report = _report(state, data, source, target, time.monotonic() - started)
    work = {"epochs": state.epoch, "steps": state.step, "videos_decoded": source.num_decoded}
    with contextlib.closing(store.draft(provenance)) as draft:
        draft.write(rows)
        draft.write_file(checkpoint.FILE, checkpoint.save(model.trained_state(), facts))
        return Outcome(draft.publish(report), made=True, work=work)


def read_data(inputs: TrainInputs, config: RunConfig) -> TrainData:
    """Read and join everything but pictures, before any model is built.

    Raises:
        ValueError: as for `train`.
    """
    cached = None
    if config.data.features == "cached":
        assert inputs.frames is not None
        cached = CachedClips(inputs.frames)
    classes = read_classes(inputs.classes, inputs.texts)
    videos = read_videos(inputs, config, "train", cached)
    negatives = read_negatives(inputs, config.model.negatives, videos, classes)
    splits = inputs.videos.read(["split"])["split"].unique().to_pylist()
    val = None
    if config.eval.every and "val" in splits:
        val = read_videos(inputs, config, "val", cached)
    return TrainData(classes, videos, negatives, val, cached)


def make_optimizer(model: RunModel, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with one group per origin of the parameters and weight decay on all, as the peers do.

    Raises:
        ValueError: nothing is left to train.
    """
    ratio = {"new": 1.0, "clip": config.clip_lr_ratio}
    groups = [
        {"params": params, "lr": config.lr * ratio[name], "peak_lr": config.lr * ratio[name]}
        for name, params in model.parameter_groups().items()
        if params
    ]
    if not groups:
        raise ValueError("nothing is trained: every part is frozen or removed by the config")
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
    )


def learning_rate_factor(step: int, steps_per_epoch: int, config: OptimConfig) -> float:
    """Share of the peak learning rate at a step (from 0): linear warm-up, then cosine to 0."""
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def train_epoch(
    state: TrainState,
    data: TrainData,
    source: ClipSource,
    config: RunConfig,
    device: torch.device,
    progress: Progress | None = None,
) -> None:
    """One pass over the training videos, and validation where it is due."""
    started = time.monotonic()
    epoch = state.epoch + 1
    steps_per_epoch = math.ceil(len(data.videos) / config.optim.batch_size)
    state.model.train()
    total, count = torch.zeros((), dtype=torch.float64, device=device), 0
    for batch in _batches(data, source, config, epoch):
        factor = learning_rate_factor(state.step, steps_per_epoch, config.optim)
        loss = train_step(state, batch.to(device), factor)
        total += loss.detach().double() * len(batch.video_ids)
        count += len(batch.video_ids)
        if progress:
            progress(state.step, steps_per_epoch * config.optim.epochs)
    mean = float(total) / count if count else math.nan
    if not math.isfinite(mean):
        raise ValueError(
            f"the training loss is {mean} in epoch {epoch}; lower optim.lr={config.optim.lr:g}"
        )
    state.epoch = epoch
    row = {
        "epoch": epoch,
        "step": state.step,
        "loss": mean,
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "val_top1": _validate(state, data, source, config, device),
    }
    state.rows.append(row)
    state.epoch_s.append(time.monotonic() - started)
    logger.info("epoch %d of %d: loss %.4f", epoch, config.optim.epochs, mean)


def train_step(state: TrainState, batch: Batch, factor: float) -> torch.Tensor:
    """One optimiser step at a share of the peak learning rate; gives the loss before it."""
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    state.optimizer.zero_grad(set_to_none=True)
    loss = batch_losses(state.model, batch)["loss"]
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    state.model.head.after_step()
    state.step += 1
    return loss


def batch_losses(model: RunModel, batch: Batch) -> dict[str, torch.Tensor]:
    """Losses of a batch with texts; the only place where a method meets a batch."""
    assert batch.texts_BRD is not None
    assert batch.text_class_ids_BR is not None
    kind = batch.clips.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
        pairs = Pairs(
            frames_BTD=model.encode(batch.clips),
            texts_BRD=batch.texts_BRD,
            class_ids_BR=batch.text_class_ids_BR,
            present_BR=batch.text_present_BR,
        )
        return model.head.losses(pairs)


def _batches(data: TrainData, source: ClipSource, config: RunConfig, epoch: int) -> Iterator[Batch]:
    order = epoch_order(len(data.videos), config.seed, epoch)
    draw = Draw(config.seed, epoch)
    for index_B, clips in source.stream(data.videos, chunks(order, config.optim.batch_size), draw):
        yield make_batch(data.videos, index_B, clips, data.negatives)


def _validate(
    state: TrainState,
    data: TrainData,
    source: ClipSource,
    config: RunConfig,
    device: torch.device,
) -> float | None:
    every = config.eval.every
    if data.val is None or (state.epoch % every and state.epoch != config.optim.epochs):
        return None
    state.model.eval()
    return top1(state.model, source, data.val, data.classes, config.eval.batch_size, device)


def _report(
    state: TrainState, data: TrainData, source: ClipSource, device: torch.device, duration_s: float
) -> dict[str, Any]:
    parameters = {
        name: sum(p.numel() for p in params)
        for name, params in state.model.parameter_groups().items()
    }
    last = state.rows[-1]
    return {
        "loss": last["loss"],
        "val_top1": last["val_top1"],
        "videos": len(data.videos),
        "videos_skipped": dict(data.videos.skipped),
        "videos_unreadable": dict(source.unreadable),
        "videos_short_of_negatives": data.negatives.num_short,
        "trained_parameters": parameters,
        "device": str(device),
        "duration_s": duration_s,
        "epoch_s": state.epoch_s,
    }
