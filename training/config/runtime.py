"""How a run is carried out; no part of its key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from training.config.run import RunConfig
from training.config.settings import PositiveInt, PositiveReal, plain


class RuntimeOptions(Frozen):
    """How a run is carried out: nothing in the result but rounding, so no part of a run's key."""

    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`, ...; if omitted the first CUDA device if there is one."""
    processes: PositiveInt = 1
    """Processes that share each batch, one per GPU where there are GPUs."""
    threads: PositiveInt | None = None
    """Threads on the CPU of each of `processes`. When None 1 for training of small steps on it
    (cached features, at most 1,024 frames in one pass of the model), which is quick on a busy
    machine too; else all cores, shared by the processes."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode videos, for each of `processes`; a video that crashes its decoder then
    costs that video only. 0: threads, which start at once."""
    checkpoint_every_s: PositiveReal = 300.0
    """Seconds between checkpoints that a stopped run goes on from."""
    checkpoint_every_steps: PositiveInt | None = None
    """A checkpoint after this many steps too."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints kept; with a damaged one the run goes on from the one before."""
    compile: bool = False
    """Compile the model with torch.compile."""
    tensorboard: Path | None = None
    """Directory for TensorBoard; needs the extra `tensorboard`."""

    @model_validator(mode="after")
    def _every_process_has_a_gpu(self) -> Self:
        if self.processes > 1 and self.device and ":" in self.device:
            kind = self.device.split(":")[0]
            raise ValueError(
                f"device={self.device} is one device, processes={self.processes} need one each; "
                f"write device={kind}"
            )
        return self


_OF_STEPS = (
    "compile",
    "tensorboard",
    "checkpoint_every_s",
    "checkpoint_every_steps",
    "keep_checkpoints",
)
"""Options that only a run with gradient steps has a use for."""


def check_options(runtime: RuntimeOptions, config: RunConfig) -> None:
    """Refuse options of gradient steps for a method that makes none, whether the run is there.

    Raises:
        ValueError: the first of them.
    """
    for name in _OF_STEPS if config.model.is_fitted else ():
        value = getattr(runtime, name)
        if value != RuntimeOptions.model_fields[name].default:
            raise ValueError(
                f"{name}={plain(value)} has no effect: {config.model.name} is made in one pass, "
                "without steps; leave it out"
            )
