"""Settings of losses that several methods have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from artifacts.frozen import Frozen


class LossConfig(Frozen):
    """Symmetric KL contrastive loss (eq. 9)."""

    target: Literal["exact", "softmax10"] = "exact"
    """Ground truth to distribution: Q / sum(Q), or softmax(10 Q) as ActionCLIP's code has it."""
    empty: Literal["mask", "uniform"] = "mask"
    """Texts without a video in the batch: left out, or pulled towards a uniform distribution."""


class LogitScaleConfig(Frozen):
    """Factor on cosines, exp of a parameter."""

    init: Literal["clip"] | Annotated[float, Field(gt=0, le=100)] = "clip"
    """Start: that of the CLIP checkpoint (100 in all of OpenAI's), or a number."""
    learnable: bool = True
    """Trained with CLIP's learning rate and kept at or below 100."""
