"""Runs in memory, and batches of them, for tests of what happens within a run."""

from dataclasses import replace

import torch

from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import make_batch
from training.data.order import EpochSeed, chunks, epoch_order
from training.distributed.group import Group
from training.loop.optimizer import WeightAverage, make_optimizer
from training.loop.state import TrainState
from training.loop.trainer import Run, read_data
from training.models.actionclip.config import ActionClipConfig
from training.models.build import assemble
from training.models.mgdm.config import MgdmConfig
from training.models.registry import recipe

QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.batch_size=24"]


SMALL_HEAD = ["model.video.layers=1", "model.video.heads=2"]
MODELS = {
    "mgdm": (MgdmConfig(), ["model.video_blocks=1", "model.negatives.k=3"]),
    "mgdm, one context": (
        MgdmConfig(),
        ["model.video_blocks=1", "model.negatives.k=2", "model.discriminator.scope=batch"],
    ),
    "actionclip": (ActionClipConfig(), SMALL_HEAD),
    "actionclip, Transf_cls": (
        ActionClipConfig(),
        [*SMALL_HEAD, "model.video.post=Transf_cls", "model.video.pos_emb_std=0.5"],
    ),
    "actionclip, LSTM": (ActionClipConfig(), ["model.video.post=LSTM"]),
}
"""Every model in a form for a world of cached features: its config and settings. A further model is
one line."""
WITH_DROPOUT = {"actionclip, Transf_cls"}


def config_of(*settings, model=None):
    if model is None:
        return override(recipe("mgdm_small").config, [*QUICK, *settings])
    config, own = MODELS[model]
    return override(RunConfig(model=config), [*QUICK, "optim.warmup_epochs=1", *own, *settings])


def start(inputs, config, group=None, **changes):
    """A run before its first step, on the CPU."""
    group = group or Group()
    data = read_data(inputs, config)
    method, source = assemble(inputs, config, data.cached, torch.device("cpu"))
    average = WeightAverage(method, config.optim.ema) if config.optim.ema else None
    state = TrainState(method, make_optimizer(method, config.optim), average)
    return Run(config, data, source, state, group, **changes)


def batches(run, epoch=1):
    """All batches of an epoch, whole."""
    draw = EpochSeed(run.config.seed, epoch)
    order = epoch_order(len(run.data.videos), run.config.seed, epoch)
    stream = run.source.stream(run.data.videos, chunks(order, run.config.optim.batch_size), draw)
    for index_B, clips in stream:
        yield make_batch(run.data.videos, index_B, clips, run.data.negatives, draw)


def gradients(run):
    """Gradients of the last step by name."""
    return {
        name: p.grad.clone()
        for name, p in run.state.method.named_parameters()
        if p.grad is not None
    }


def in_float64(run):
    run.state.method.double()
    return run


def doubled(batch):
    changes = {
        name: value.double()
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    return replace(batch, **changes)
