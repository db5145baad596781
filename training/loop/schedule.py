"""The learning rate over a run."""

from __future__ import annotations

import math

from training.config.optim import OptimConfig


def learning_rate_factor(step: int, steps_per_epoch: int, config: OptimConfig) -> float:
    """Share of the peak learning rate at an optimiser step (from 0).

    A linear warm-up, (step + 1) / (warm-up steps + 1), then by `optim.schedule`: half a cosine that
    would be 0 one step behind the last; 1; or `gamma` to the number of milestones passed.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))
    if config.schedule == "step":
        passed = sum(step >= milestone * steps_per_epoch for milestone in config.milestones)
        return float(config.gamma**passed)
    return 1.0
