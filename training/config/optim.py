"""Optimiser, schedule and steps."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from training.config.settings import Fraction, PositiveInt, PositiveReal


class OptimConfig(Frozen):
    """Optimiser, its schedule per step, and what a step consists of."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    """`adam` has the weight decay in the gradient."""
    lr: PositiveReal = 5e-5
    """Peak learning rate of new modules."""
    clip_lr_ratio: Fraction = 0.1
    """CLIP's learning rate (towers, logit scale) over `lr`. Source: BIKE."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    """Decay per step of the means of gradients and of their squares."""
    eps: PositiveReal = 1e-8
    """Added to the root of the mean square."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    """On every trained parameter, as the peers have it."""
    epochs: PositiveInt = 20
    """Passes over the training videos."""
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    """After a linear warm-up: half a cosine to 0, constant, or times `gamma` at milestones."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs in which the learning rate rises."""
    milestones: tuple[PositiveInt, ...] = ()
    """For `step`: epochs after which the learning rate falls."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """For `step`: factor on the learning rate at each milestone."""
    batch_size: PositiveInt = 256
    """Clips per step, over all processes; in-batch negatives come from these."""
    micro_batch: PositiveInt | None = None
    """Clips per forward pass of a process, to save memory: same loss, same in-batch negatives, but
    all clips but the first part are encoded twice; if omitted a process's clips at once."""
    max_norm: PositiveReal | None = None
    """Gradients are scaled down to this Euclidean norm; if omitted never."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of an exponential mean of the weights, which is then what is validated and
    published; if omitted the weights themselves."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.warmup_epochs} must be less than "
                f"optim.epochs={self.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        bounds = [self.warmup_epochs - 1, *self.milestones, self.epochs]
        if self.schedule == "step" and (not self.milestones or bounds != sorted(set(bounds))):
            raise ValueError(
                f"optim.milestones={list(self.milestones)} must be rising epochs from "
                f"optim.warmup_epochs={self.warmup_epochs} to below optim.epochs={self.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _parts_are_smaller(self) -> Self:
        if self.micro_batch is not None and self.micro_batch >= self.batch_size:
            raise ValueError(
                f"optim.micro_batch={self.micro_batch} must be less than "
                f"optim.batch_size={self.batch_size}; or leave it at null"
            )
        return self
