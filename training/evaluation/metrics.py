"""Metrics over all videos of a split at once, never averaged over batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_f1_score,
)

F1_THRESHOLD = 0.5
"""Probability from which a class is predicted, where a video may have several."""


def accuracies(ranked: Sequence[tuple[int, Sequence[int]]]) -> dict[str, float]:
    """`top1` and `top5` of (true class, most probable classes, best first); 0 without any video.

    With fewer than 5 classes, top-5 is over all of them and therefore 1.
    """
    num_videos = max(len(ranked), 1)
    return {f"top{k}": sum(true in best[:k] for true, best in ranked) / num_videos for k in (1, 5)}


def multilabel_metrics(probabilities_NK: torch.Tensor, labels_NK: torch.Tensor) -> dict[str, float]:
    """Metrics of videos with several classes.

    Args:
        probabilities_NK: per video and class, in [0, 1]; in float64, see `Classifier`.
        labels_NK: True for a video's classes.

    Returns:
        `map`: average precision, mean over the classes that any video has; `map_micro`: over all
        pairs of video and class; `f1_micro`, `f1_macro` (over the same classes as `map`) at
        probability 0.5. 0 without any label.

    Raises:
        ValueError: a value is no probability.
    """
    if not bool(((probabilities_NK >= 0) & (probabilities_NK <= 1)).all()):
        raise ValueError("multi-label metrics need probabilities in [0, 1]")
    labels_NK = labels_NK.long()
    present_K = labels_NK.any(dim=0)
    if not present_K.any():
        return dict.fromkeys(("map", "map_micro", "f1_micro", "f1_macro"), 0.0)
    present = probabilities_NK[:, present_K], labels_NK[:, present_K]
    num_present, num_all = int(present_K.sum()), labels_NK.shape[1]
    precision = partial(multilabel_average_precision, validate_args=False)
    f1 = partial(multilabel_f1_score, threshold=F1_THRESHOLD, validate_args=False)
    return {
        "map": float(precision(*present, num_present, average="macro")),
        "map_micro": float(precision(probabilities_NK, labels_NK, num_all, average="micro")),
        "f1_micro": float(f1(probabilities_NK, labels_NK, num_all, average="micro")),
        "f1_macro": float(f1(*present, num_present, average="macro")),
    }
