"""Which of CLIP's towers start from its weights, for the ablation of ActionCLIP's pre-training."""

from __future__ import annotations

from typing import Literal

import torch

from knowledge.clip.architecture import new_model
from knowledge.clip.model import Clip


def restart(clip: Clip, init: Literal["clip", "vision_only", "scratch"]) -> None:
    """Replace weights of a loaded CLIP by those of a new model of its architecture.

    StepSeed from torch's global generator.

    Args:
        clip: changed in place.
        init: what keeps CLIP's weights: both towers, the image tower, or nothing. The logit scale
            is not touched.
    """
    if init == "clip":
        return
    fresh = new_model(clip.spec.arch)
    state = clip.model.state_dict()
    with torch.no_grad():
        for name, value in fresh.state_dict().items():
            if name != "logit_scale" and (init == "scratch" or not name.startswith("visual.")):
                state[name].copy_(value)
