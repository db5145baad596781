"""A class of an episode, known by a few videos: nearest class mean, accuracy over episodes.

The simplest classifier of every few-shot table. A class is the mean of its support videos' unit
embeddings; a query is of the class whose mean has the largest cosine with it.

Legend: V videos, D embedding, E episodes, N ways, S shots, Q queries per class.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

EPISODES_PER_PASS = 1024
"""Bounds what is gathered at a time: 50 MB for 5-way 5-shot episodes with D = 512."""


def nearest_class_mean(
    embeddings_VD: torch.Tensor, support_ENS: torch.Tensor, query_ENQ: torch.Tensor
) -> torch.Tensor:
    """Which queries are nearest to the mean of their own class; way n is the same in both arrays.

    Args:
        embeddings_VD: of videos, of any length.
        support_ENS: positions of the support videos.
        query_ENQ: positions of the queries.

    Returns:
        (E, N, Q) bool; of equal cosines the first way's counts.
    """
    units_VD = F.normalize(embeddings_VD, dim=-1)
    own_N1 = torch.arange(support_ENS.shape[1], device=support_ENS.device)[:, None]
    hits = []
    parts = (torch.split(each, EPISODES_PER_PASS) for each in (support_ENS, query_ENQ))
    for support, query in zip(*parts, strict=True):
        means_END = F.normalize(units_VD[support].mean(dim=2), dim=-1)
        cosines_ENQM = torch.einsum("enqd,emd->enqm", units_VD[query], means_END)
        hits.append(cosines_ENQM.argmax(dim=-1) == own_N1)
    return torch.cat(hits)


def measure(hits_ENQ: torch.Tensor) -> dict[str, float]:
    """`accuracy`, the mean over episodes of their share of hits, and `ci95`.

    `ci95` is half the width of the accuracy's 95 % interval, 1.96 std / sqrt(E) with the sample
    standard deviation over episodes; 0 for one episode.
    """
    share_E = hits_ENQ.double().mean(dim=(1, 2))
    std = float(share_E.std()) if len(share_E) > 1 else 0.0
    return {"accuracy": float(share_E.mean()), "ci95": 1.96 * std / math.sqrt(len(share_E))}
