"""WiSE-FT: weights between those of frozen CLIP and those that a run made of them.

Training on one list of classes costs accuracy on others. Halfway between both sets of weights a
model keeps most of what CLIP knew and most of what it learnt. Source: Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022. Their head is CLIP's own, so alpha = 0 is
zero-shot CLIP. Here everything that is not CLIP's stays as it was trained (a transformer over
frames, the logit scale), so that alpha = 0 is frozen CLIP under a trained head.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from training.models.method import Method


def clip_weights(method: Method, towers: frozenset[str]) -> dict[str, torch.Tensor]:
    """Copies of the method's present weights of these towers, by its own names."""
    state = method.state_dict()
    return {
        name: state[name].clone()
        for name, clip_name in method.clip_names().items()
        if ("image" if clip_name.startswith("visual.") else "text") in towers
    }


def interpolated(method: Method, frozen: Mapping[str, torch.Tensor], alpha: float) -> Method:
    """A copy of the method whose weights of CLIP are (1 - alpha) frozen + alpha trained.

    At 0 and 1 they are those of one side to the bit.

    Args:
        method: as it was trained, in evaluation mode; not changed.
        frozen: CLIP's weights by the method's names; what is not here stays as it was trained.
        alpha: in [0, 1].
    """
    between = copy.deepcopy(method)
    state, trained = between.state_dict(), method.trained_state()
    with torch.no_grad():
        for name, tensor in frozen.items():
            if name in trained and tensor.is_floating_point():
                state[name].copy_(torch.lerp(tensor, state[name], alpha))
    return between


def protocol_at(protocol: str, alpha: float) -> str:
    """Name of a protocol with such weights, e.g. `actionclip@0.5`."""
    return f"{protocol}@{str(float(alpha)).removesuffix('.0')}"
