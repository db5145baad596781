"""How many threads of the CPU a process trains with.

Threads of one operation wait for each other, at every operation, and for whatever else runs on the
machine. On two cores with three other busy processes a step of `mgdm_small` (32 clips of 16 frames,
width 256) took 0.11 to 0.14 s with one thread and 0.5 to 1.4 s with two; at width 512, where each
operation is four times as long, 0.3 s and 0.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.models.build import default_device

SMALL_STEP = 1024
"""Cached frames of one pass of the model up to which one thread trains."""


def is_small(config: RunConfig) -> bool:
    """Whether a step is so short that threads would mostly wait for each other."""
    clips = config.optim.micro_batch or config.optim.batch_size
    return (
        config.data.features == "cached"
        and not config.model.is_fitted
        and clips * config.data.num_frames <= SMALL_STEP
    )


def threads_of(config: RunConfig, runtime: RuntimeOptions) -> int | None:
    """Threads of a process that trains; None: as many as torch takes by itself."""
    device = torch.device(runtime.device) if runtime.device else default_device()
    if runtime.threads is None and device.type == "cpu" and is_small(config):
        return 1
    return runtime.threads


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Compute with so many threads, then with as many as before; None changes nothing."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
