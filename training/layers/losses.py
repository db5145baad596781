"""Losses over similarity matrices.

Legend: R rows, K columns.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F


def soft_contrastive(
    logits_RK: torch.Tensor,
    positives_RK: torch.Tensor,
    target: Literal["exact", "softmax10"] = "exact",
    empty: Literal["mask", "uniform"] = "mask",
) -> torch.Tensor:
    """Mean over rows of KL(P || softmax(logits)), where a row may have several positives or none.

    The peers' `KLDivLoss(mean) * R` equals this only where R = K; this is right for any shape.

    Args:
        logits_RK: similarities times their scale.
        positives_RK: True where row and column belong together.
        target: P = Q / sum(Q); or softmax(10 Q) as in ActionCLIP's code, which leaves a part of the
            mass on negatives (8.5 % at K = 2048).
        empty: rows without a positive are left out of the mean, or have P uniform.

    Returns:
        Scalar, at least float32; 0 where no row counts.

    Raises:
        ValueError: the shapes differ.
    """
    if logits_RK.shape != positives_RK.shape or logits_RK.ndim != 2:
        raise ValueError(
            f"logits {tuple(logits_RK.shape)} and positives {tuple(positives_RK.shape)} "
            "must be matrices of one shape"
        )
    logits_RK = full_precision(logits_RK)
    positives_RK = positives_RK.to(logits_RK.dtype)
    empty_R = positives_RK.sum(dim=1) == 0
    if target == "softmax10":
        truth_RK = F.softmax(10 * positives_RK, dim=1)
    else:
        filled_RK = positives_RK.masked_fill(empty_R[:, None], 1)
        truth_RK = filled_RK / filled_RK.sum(dim=1, keepdim=True)
    divergence_RK = torch.xlogy(truth_RK, truth_RK) - truth_RK * F.log_softmax(logits_RK, dim=1)
    divergence_R = divergence_RK.sum(dim=1)
    if empty == "uniform":
        return divergence_R.mean()
    return divergence_R.masked_fill(empty_R, 0).sum() / (~empty_R).sum().clamp(min=1)


def symmetric_contrastive(
    logits_RK: torch.Tensor,
    positives_RK: torch.Tensor,
    target: Literal["exact", "softmax10"] = "exact",
    empty: Literal["mask", "uniform"] = "mask",
) -> dict[str, torch.Tensor]:
    """`soft_contrastive` of videos (rows) with texts (columns) and of texts with videos.

    Returns:
        `video_to_text`, `text_to_video` and their mean `loss`.
    """
    video_to_text = soft_contrastive(logits_RK, positives_RK, target, empty)
    text_to_video = soft_contrastive(logits_RK.T, positives_RK.T, target, empty)
    return {
        "loss": (video_to_text + text_to_video) / 2,
        "video_to_text": video_to_text,
        "text_to_video": text_to_video,
    }


def full_precision(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in float32, or as it is where it is float32 or float64."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
