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

from artifacts.tensors import read_tensor
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.inputs import TrainInputs
from training.models.build import default_device

SMALL_STEP, NARROW = 1024, 256
"""Cached frames of one pass of the model, and width of its embeddings, up to which one thread
trains."""


def is_small(config: RunConfig, dim: int) -> bool:
    """Whether a step is so short that threads would mostly wait for each other.

    Args:
        config: of the run.
        dim: width of CLIP's embeddings.
    """
    clips = config.optim.micro_batch or config.optim.batch_size
    return (
        config.data.features == "cached"
        and not config.model.is_fitted
        and clips * config.data.num_frames <= SMALL_STEP
        and dim <= NARROW
    )


def with_threads(runtime: RuntimeOptions, config: RunConfig, inputs: TrainInputs) -> RuntimeOptions:
    """The options with `threads` filled in where steps are small, on a CPU."""
    device = torch.device(runtime.device) if runtime.device else default_device()
    if runtime.threads is not None or device.type != "cpu":
        return runtime
    texts = next(inputs.texts.parts(["embedding"]))
    small = is_small(config, read_tensor(texts, "embedding").shape[1])
    return runtime.model_copy(update={"threads": 1}) if small else runtime


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
