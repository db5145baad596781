"""What a run in progress is: its weights, its place in the data and what it has found so far.

Legend: B clips.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from training.loop.optimizer import WeightAverage, trained_parameters
from training.loop.resume import Saved
from training.models.method import TrainedMethod


@dataclass(frozen=True, eq=False)
class Best:
    """The best epoch on the selection split so far."""

    epoch: int
    value: float
    tensors: dict[str, torch.Tensor]
    """On the CPU."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a finished run publishes."""

    rows: list[dict[str, Any]]
    """Of `training_run`."""
    tensors: dict[str, torch.Tensor]
    """The weights."""
    dim: int
    """Width of CLIP's features."""
    report: dict[str, Any]
    work: dict[str, int]
    """What it took, such as `epochs`."""
    from_start: frozenset[str] = frozenset()
    """Weights that began as those of another run."""


@dataclass
class TrainState:
    """Everything that changes while training."""

    method: TrainedMethod
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None = None
    step: int = 0
    """Optimiser steps so far."""
    epoch: int = 0
    """Finished epochs."""
    batch: int = 0
    """Batches of the current epoch behind us."""
    loss_sum: torch.Tensor | float = 0.0
    """Over the clips of the current epoch; float64 on the device, which need not be waited for."""
    clips: int = 0
    best: Best | None = None
    stale: int = 0
    """Validations since the best one."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One per finished epoch, as `training_run` stores them."""
    epoch_s: list[float] = field(default_factory=list)
    wait_s: list[float] = field(default_factory=list)
    """Of each epoch, seconds spent waiting for clips."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Reason by id, of videos found unusable (by the first process)."""
    report: dict[str, Any] = field(default_factory=dict)
    """Of the finished run."""

    def published(self) -> dict[str, torch.Tensor]:
        """The weights this run is to give: the best epoch's, or the mean's, or the last ones."""
        if self.best is not None:
            return self.best.tensors
        return self.average.tensors if self.average else self.method.trained_state()

    def saved(self) -> Saved:
        """All of it, as a checkpoint holds it."""
        tensors = _prefixed("weights", self.method.trained_state())
        for i, p in enumerate(trained_parameters(self.optimizer)):
            tensors |= _prefixed(f"optimizer.{i}", self.optimizer.state.get(p, {}))
        if self.average:
            tensors |= _prefixed("average", self.average.tensors)
        if self.best:
            tensors |= _prefixed("best", self.best.tensors)
        best = {"epoch": self.best.epoch, "value": self.best.value} if self.best else None
        facts = {name: getattr(self, name) for name in _PLAIN}
        return Saved(tensors, facts | {"loss_sum": float(self.loss_sum), "best": best})

    def restore(self, saved: Saved) -> None:
        """Go back to a checkpoint of the same run."""
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = tensor
        self.method.restore(parts["weights"])
        state = self.optimizer.state_dict()
        state["state"] = {
            i: each
            for i in range(len(trained_parameters(self.optimizer)))
            if (each := parts.get(f"optimizer.{i}"))
        }
        self.optimizer.load_state_dict(state)
        if self.average:
            for name, tensor in parts["average"].items():
                self.average.tensors[name].copy_(tensor)
        for name in _PLAIN:
            setattr(self, name, saved.facts[name])
        self.loss_sum = saved.facts["loss_sum"]
        if best := saved.facts["best"]:
            self.best = Best(best["epoch"], best["value"], parts["best"])


_PLAIN = (
    "step",
    "epoch",
    "batch",
    "clips",
    "stale",
    "rows",
    "epoch_s",
    "wait_s",
    "unreadable",
)


def _prefixed(part: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{part}/{name}": tensor for name, tensor in tensors.items()}
