"""Runs in memory, and batches of them, for tests of what happens within a run."""

import torch

from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import make_batch
from training.data.order import EpochSeed
from training.distributed.group import Group
from training.loop.epochs import Run
from training.loop.optimizer import WeightAverage, make_optimizer
from training.loop.state import TrainState
from training.models.actionclip.config import ActionClipConfig
from training.models.build import assemble, read_data
from training.models.linear_probe.config import LinearProbeConfig
from training.models.mgdm.config import MgdmConfig
from training.models.prototype.config import PrototypeConfig
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
FITTED = {
    "linear_probe": (LinearProbeConfig(), []),
    "prototype": (PrototypeConfig(), []),
    "prototype, cache": (PrototypeConfig(cache=True, alpha="val"), ["data.shots=4"]),
}
"""The same for methods made in one pass."""
WITH_DROPOUT = {"actionclip, Transf_cls"}


def config_of(*settings, model=None):
    if model is None:
        return override(recipe("mgdm_small").config, [*QUICK, *settings])
    if model in FITTED:
        config, own = FITTED[model]
        return override(RunConfig(model=config), ["data.num_frames=4", *own, *settings])
    config, own = MODELS[model]
    return override(RunConfig(model=config), [*QUICK, "optim.warmup_epochs=1", *own, *settings])


def start(inputs, config, group=None, **changes):
    """A run before its first step, on the CPU."""
    group = group or Group()
    data = read_data(inputs, config)
    cpu = torch.device("cpu")
    method, source = assemble(inputs, config, data.classes, data.cached, cpu)
    average = WeightAverage(method, config.optim.ema) if config.optim.ema else None
    state = TrainState(method, make_optimizer(method, config), average)
    order = method.order(config, data.videos)
    return Run(config, data, source, state, group, order, **changes)


def batches(run, epoch=1):
    """All batches of an epoch, whole."""
    draw = EpochSeed(run.config.seed, epoch)
    stream = run.source.stream(run.data.videos, run.order.batches(epoch), draw)
    for index_B, clips in stream:
        yield make_batch(run.data.videos, index_B, clips, run.data.joined, draw)


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
    return batch.map(lambda each: each.double() if each.is_floating_point() else each)
