"""Class means, Tip-Adapter's logits, and the choice of its two numbers.

Legend: B videos, N training videos, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

BETAS = tuple(0.1 + i * (7 - 0.1) / 200 for i in range(200))
"""Sharpnesses tried. Source: Tip-Adapter's code, its grid for ImageNet."""
ALPHAS = tuple(0.1 + i * (3 - 0.1) / 20 for i in range(20))
"""Weights tried. Source: the same."""

VIDEOS_AT_ONCE = 1024
"""Compared with all training videos at a time, to save memory."""


def class_means(video_ND: torch.Tensor, class_N: torch.Tensor, num_classes: int) -> torch.Tensor:
    """(K, D): the mean of each class's unit embeddings, at unit length again.

    Added up in float64, class by class.
    """
    means = [video_ND[class_N == k].double().mean(dim=0) for k in range(num_classes)]
    return F.normalize(torch.stack(means), dim=-1).to(video_ND.dtype)


def votes(cosine_BN: torch.Tensor, class_NK: torch.Tensor, beta: float) -> torch.Tensor:
    """(B, K): sum over a class's training videos of exp(-beta (1 - cosine)).

    Args:
        cosine_BN: of videos with training videos.
        class_NK: 1 at each training video's class, else 0.
        beta: sharpness.
    """
    return torch.exp(-beta * (1 - cosine_BN)) @ class_NK


def best_of_grid(
    video_BD: torch.Tensor,
    class_B: torch.Tensor,
    texts_KD: torch.Tensor,
    cache_ND: torch.Tensor,
    class_NK: torch.Tensor,
    alphas: Sequence[float],
    betas: Sequence[float],
    at_once: int = VIDEOS_AT_ONCE,
) -> tuple[float, float, float]:
    """The alpha and beta of the highest accuracy; of equals the smallest beta, then alpha.

    Args:
        video_BD: unit embeddings of the videos to choose on.
        class_B: their classes.
        texts_KD: unit class prompts times their scale.
        cache_ND: unit embeddings of the training videos.
        class_NK: as for `votes`.
        alphas: those to try, rising.
        betas: those to try, rising.
        at_once: videos compared with all training videos at a time.

    Returns:
        Alpha, beta and the accuracy.
    """
    hits = torch.zeros(len(betas), len(alphas), dtype=torch.long)
    for part_BD, true_B in zip(
        torch.split(video_BD, at_once), torch.split(class_B, at_once), strict=True
    ):
        text_BK, cosine_BN = part_BD @ texts_KD.T, part_BD @ cache_ND.T
        for i, beta in enumerate(betas):
            votes_BK = votes(cosine_BN, class_NK, beta)
            for j, alpha in enumerate(alphas):
                found_B = (text_BK + alpha * votes_BK).argmax(dim=1)
                hits[i, j] += int((found_B == true_B).sum())
    best = int(hits.flatten().argmax())
    return (
        alphas[best % len(alphas)],
        betas[best // len(alphas)],
        int(hits.max()) / len(class_B),
    )
