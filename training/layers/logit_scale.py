"""The factor on cosines, exp of a parameter, as CLIP has it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from knowledge.clip.logit_scale import MAX_LOGIT_SCALE
from training.config.losses import LogitScaleConfig


def logit_scale(config: LogitScaleConfig) -> nn.Parameter:
    """The parameter, at the largest factor where it will start from CLIP's."""
    start = MAX_LOGIT_SCALE if config.init == "clip" else math.log(config.init)
    return nn.Parameter(torch.tensor(start), requires_grad=config.learnable)


@torch.no_grad()
def start_logit_scale(
    parameter: nn.Parameter, config: LogitScaleConfig, factor: Callable[[], float]
) -> None:
    """Set it to CLIP's factor, which is asked for where the config says so."""
    if config.init == "clip":
        parameter.fill_(min(math.log(factor()), MAX_LOGIT_SCALE))


@torch.no_grad()
def clamp_logit_scale(parameter: nn.Parameter) -> None:
    """Keep the factor at or below 100."""
    parameter.clamp_(max=MAX_LOGIT_SCALE)
