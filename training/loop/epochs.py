"""A run trained by gradient steps: epochs, steps, validation, checkpoints. It knows no model.

Weights stay float32; on CUDA the model runs under bfloat16 autocast while similarities and losses
keep full precision. What changes while training is in `training.loop.state`, what a step does in
`training.loop.step`.

Legend: B clips.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from artifacts.jobs import Progress
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.batch import Batch, make_batch
from training.data.inputs import TrainInputs
from training.data.order import EpochSeed, Order
from training.data.run_data import TrainData
from training.data.sources import ClipSource
from training.data.video_set import VideoSet, check_share
from training.distributed.group import Group
from training.evaluation.validation import validate
from training.loop.optimizer import (
    WeightAverage,
    apply_gradients,
    make_optimizer,
    trained_parameters,
)
from training.loop.resume import RunCheckpoints
from training.loop.schedule import learning_rate_factor
from training.loop.state import Best, Trained, TrainState
from training.loop.step import Encode, StepSeed, backward
from training.loop.tensorboard import Writer
from training.models.build import assemble, load_start, read_data
from training.models.method import TrainedMethod

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """A run under way: what it reads, how it is carried out, and its state, which alone changes."""

    config: RunConfig
    data: TrainData
    source: ClipSource
    state: TrainState
    group: Group
    order: Order
    encode: Encode | None = None
    """Stands in for the method's own; compiled."""
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    progress: Progress | None = None
    curves: Writer = field(default_factory=lambda: Writer(None))

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.order.num_steps

    @property
    def num_epochs(self) -> int:
        """Those of the config; none where every part is frozen or removed by the config."""
        return self.config.optim.epochs if trained_parameters(self.state.optimizer) else 0


def train_by_steps(run: Run, checkpoints: RunCheckpoints) -> Trained:
    """Train from the last checkpoint, or from the start, to the end.

    Raises:
        ValueError: as for `training.loop.trainer.train`.
    """
    with contextlib.closing(run.curves):
        resume(run, checkpoints)
        work = train_epochs(run, checkpoints)
    state = run.state
    return Trained(
        rows=state.rows,
        tensors=state.published(),
        dim=int(run.data.classes.prompts_KD.shape[1]),
        report=state.report,
        work=work,
        from_start=state.method.from_start,
    )


def begin(
    inputs: TrainInputs,
    config: RunConfig,
    group: Group,
    runtime: RuntimeOptions,
    progress: Progress | None,
) -> Run:
    """The run before its first step.

    Args:
        inputs: the artifacts.
        config: of the run.
        group: the processes.
        runtime: workers, compilation, curves.
        progress: called after each step.

    Raises:
        ValueError: as for `training.loop.trainer.train`, where the inputs are to blame.
    """
    data = read_data(inputs, config)
    given = (seen_once(config), data.classes, data.cached, group.device, runtime.workers)
    method, source = assemble(inputs, *given)
    assert isinstance(method, TrainedMethod)
    load_start(method, inputs, config)
    group.broadcast(list(method.state_dict().values()))
    average = WeightAverage(method, config.optim.ema) if config.optim.ema else None
    optimizer = make_optimizer(method, config)
    state = TrainState(method, optimizer, average)
    order = method.order(config, data.videos)
    encode = None
    if runtime.compile:
        from training.loop.compile import compiled

        encode = compiled(method)
    curves = Writer(runtime.tensorboard if group.is_first else None)
    return Run(config, data, source, state, group, order, encode, runtime, progress, curves)


def seen_once(config: RunConfig) -> RunConfig:
    """The config for validation, which sees one view of a video."""
    return config.model_copy(update={"eval": config.eval.model_copy(update={"views": "1x1"})})


def resume(run: Run, checkpoints: RunCheckpoints) -> None:
    """Go to where the last checkpoint left the run, if there is one.

    Raises:
        ValueError: it belongs to another run.
    """
    step = run.group.broadcast_object(checkpoints.latest() if run.group.is_first else None)
    for damage in checkpoints.damaged:
        logger.warning("a checkpoint could not be used: %s", damage)
    if step is not None:
        run.state.restore(checkpoints.read(step))
        run.source.unreadable.update(run.state.unreadable)
        logger.info("going on from step %d", step)


def train_epochs(run: Run, checkpoints: RunCheckpoints) -> dict[str, int]:
    """Train what is left; gives the work that took. The report is kept in the state."""
    state, started = run.state, time.monotonic()
    first_epoch, first_step = state.epoch, state.step
    while state.epoch < run.num_epochs and not _is_stale(run):
        train_epoch(run, checkpoints)
    state.report = _report(run) | {
        "resumed_from_step": first_step,
        "damaged_checkpoints": len(checkpoints.damaged),
        "duration_s": time.monotonic() - started,
    }
    return {
        "epochs": state.epoch - first_epoch,
        "steps": state.step - first_step,
        "videos_decoded": sum(run.group.all_counts(run.source.num_decoded)),
    }


def train_epoch(run: Run, checkpoints: RunCheckpoints | None = None) -> None:
    """What is left of a pass over the training videos, and validation where it is due.

    Raises:
        ValueError: the loss is not finite.
    """
    state, config = run.state, run.config
    started, waited = time.monotonic(), 0.0
    batches = own_batches(run, state.epoch + 1, state.batch)
    while True:
        asked = time.monotonic()
        batch = next(batches, _END)
        waited += time.monotonic() - asked
        if batch is _END:
            break
        assert isinstance(batch, Batch | None)
        train_step(run, batch)
        state.batch += 1
        if checkpoints is not None:
            _save_where_due(run, checkpoints)
    _check_readable(run)
    mean = float(state.loss_sum) / state.clips if state.clips else math.nan
    if not math.isfinite(mean):
        raise ValueError(
            f"the training loss is {mean} in epoch {state.epoch + 1}; "
            f"lower optim.lr={config.optim.lr:g}"
        )
    state.epoch += 1
    state.batch, state.loss_sum, state.clips = 0, 0.0, 0
    row = {
        "epoch": state.epoch,
        "step": state.step,
        "loss": mean,
        "learning_rate": state.optimizer.param_groups[0]["peak_lr"]
        * learning_rate_factor(max(state.step - 1, 0), run.steps_per_epoch, config.optim),
    }
    state.rows.append(row | _validate(run))
    state.epoch_s.append(time.monotonic() - started)
    state.wait_s.append(waited)
    run.curves.show(state.step, {"epoch loss": mean, **_measured(state.rows[-1])})
    logger.info("epoch %d of %d: loss %.4f", state.epoch, config.optim.epochs, mean)


def train_step(run: Run, batch: Batch | None) -> torch.Tensor | None:
    """One optimiser step; gives the loss before it, None where no process has a clip.

    Args:
        run: is changed.
        batch: this process's part of the batch; None: nothing.
    """
    state, config = run.state, run.config.optim
    parameters = trained_parameters(state.optimizer)
    losses, num_clips = backward(
        state.method,
        batch.to(run.group.device) if batch else None,
        StepSeed(run.config.seed, state.step),
        parameters,
        group=run.group,
        micro_batch=config.micro_batch,
        encode=run.encode,
    )
    if not num_clips:
        return None
    factor = learning_rate_factor(state.step, run.steps_per_epoch, config)
    norm = apply_gradients(state.optimizer, factor, config.max_norm)
    state.method.after_step()
    if state.average:
        state.average.update(state.method)
    state.step += 1
    state.loss_sum = state.loss_sum + losses["loss"].double() * num_clips
    state.clips += num_clips
    if run.curves.writer is not None:
        shown = {name: float(loss) for name, loss in losses.items()}
        shown["gradient norm"] = math.nan if norm is None else float(norm)
        run.curves.show(state.step, {k: v for k, v in shown.items() if math.isfinite(v)})
    if run.progress:
        run.progress(state.step, run.steps_per_epoch * config.epochs)
    return losses["loss"]


def _check_readable(run: Run) -> None:
    """Let every process know all unreadable videos, and refuse to go on with too many.

    Raises:
        ValueError: more of the training videos are unusable than the config allows.
    """
    videos, known = run.data.videos, run.source.unreadable
    for said in run.group.all_gather_object(known):
        known.update(said)
    unusable = videos.skipped.total() + len(known.keys() & set(videos.video_ids))
    check_share(unusable, videos.num_listed, run.config, f"split {videos.split!r}")


_END = object()


def own_batches(run: Run, epoch: int, done: int) -> Iterator[Batch | None]:
    """This process's part of each batch of an epoch behind the first `done`; None: no clip of it.

    All processes give equally many, whatever videos each finds unreadable.
    """
    config, data = run.config, run.data
    parts = [run.group.part(whole) for whole in run.order.batches(epoch)[done:]]
    draw = EpochSeed(config.seed, epoch)
    stream = run.source.stream(data.videos, (part for part in parts if len(part)), draw)
    ahead = None
    for part in parts:
        if len(part) and ahead is None:
            ahead = next(stream, None)
        if ahead is None or ahead[0][0] not in part:
            yield None
            continue
        (index_B, clips), ahead = ahead, None
        yield make_batch(data.videos, index_B, clips, data.joined, draw)


def _save_where_due(run: Run, checkpoints: RunCheckpoints) -> None:
    state, runtime = run.state, run.runtime
    if not run.group.is_first:
        return
    every = runtime.checkpoint_every_steps
    by_steps = every is not None and state.step % every == 0
    if by_steps or time.monotonic() - checkpoints.saved_at >= runtime.checkpoint_every_s:
        state.unreadable = dict(run.source.unreadable)
        checkpoints.save(state.step, state.saved())


def _validate(run: Run) -> dict[str, float | None]:
    """Columns of the epoch's row, and the best epoch so far."""
    state, config = run.state, run.config
    last = state.epoch == config.optim.epochs
    if run.data.val is None or (state.epoch % config.eval.every and not last):
        return dict(_NOT_VALIDATED)
    averaged = state.average.in_place(state.method) if state.average else contextlib.nullcontext()
    with averaged:
        metric, value = _validated(run, run.data.val)
        if config.eval.select:
            if state.best is None or value > state.best.value:
                weights = state.method.trained_state()
                kept = {name: each.detach().cpu().clone() for name, each in weights.items()}
                state.best, state.stale = Best(state.epoch, value, kept), 0
            else:
                state.stale += 1
    return _NOT_VALIDATED | {f"val_{metric}": value}


_NOT_VALIDATED: dict[str, float | None] = {"val_top1": None, "val_map": None}


def _validated(run: Run, val: VideoSet) -> tuple[str, float]:
    """The metric that selects, and its value with the method's present weights."""
    method = run.state.method
    method.eval()
    given = (method, run.source, val, run.data.classes, seen_once(run.config), run.group)
    found = validate(*given)
    method.train()
    return found


def _is_stale(run: Run) -> bool:
    patience = run.config.eval.patience
    return patience is not None and run.state.stale >= patience


def _measured(row: dict[str, Any]) -> dict[str, float | None]:
    return {name: row[name] for name in ("val_top1", "val_map", "learning_rate")}


def _published(run: Run) -> dict[str, Any]:
    """Which weights the run gives, and the loss and validation of their epoch."""
    state, val = run.state, run.data.val
    if not run.num_epochs:
        metric, value = ("top1", None) if val is None else _validated(run, val)
        weights = "as they were: no part is trained, so no setting of optim had an effect"
        return {"loss": None, **_NOT_VALIDATED, f"val_{metric}": value, "weights": weights}
    row, weights = state.rows[-1], "mean" if state.average else "last"
    if state.best is not None:
        row = next(each for each in state.rows if each["epoch"] == state.best.epoch)
        weights = f"{'mean' if state.average else 'weights'} of epoch {state.best.epoch}"
    return {**{name: row[name] for name in ("loss", "val_top1", "val_map")}, "weights": weights}


def _report(run: Run) -> dict[str, Any]:
    state, data = run.state, run.data
    said = run.group.all_gather_object(run.source.unreadable)
    return {
        **_published(run),
        "videos": len(data.videos),
        "videos_skipped": dict(data.videos.skipped),
        "videos_unreadable": {video: why for each in said for video, why in each.items()},
        **{name: count for each in data.joined for name, count in each.counts.items()},
        "trained_parameters": {
            name: sum(p.numel() for p in params)
            for name, params in state.method.parameter_groups().items()
        },
        "device": str(run.group.device),
        "processes": run.group.size,
        "epoch_s": state.epoch_s,
        "wait_s": state.wait_s,
    }
