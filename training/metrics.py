"""Metrics over all videos of a split at once, never averaged over batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torchmetrics.classification import MulticlassAccuracy


class TopK:
    """Share of videos whose class is among the 1, or 5, most probable ones.

    With fewer than 5 classes, top-5 is over all of them and therefore 1.
    """

    def __init__(self, num_classes: int) -> None:
        self._accuracy = {
            f"top{k}": MulticlassAccuracy(
                num_classes, top_k=min(k, num_classes), average="micro", validate_args=False
            )
            for k in (1, 5)
        }
        self.num_videos = 0

    def update(self, probabilities_BK: torch.Tensor, truth_B: torch.Tensor) -> None:
        """Add videos: their class probabilities and the positions of their true classes."""
        for accuracy in self._accuracy.values():
            accuracy.update(probabilities_BK.cpu(), truth_B.cpu())
        self.num_videos += len(truth_B)

    def compute(self) -> dict[str, float]:
        """`top1` and `top5`, in [0, 1]; 0 without any video."""
        if not self.num_videos:
            return dict.fromkeys(self._accuracy, 0.0)
        return {name: float(accuracy.compute()) for name, accuracy in self._accuracy.items()}


def accuracies(ranked: Sequence[tuple[int, Sequence[int]]]) -> dict[str, float]:
    """`top1` and `top5` of (true class, most probable classes, best first); 0 without any video."""
    num_videos = max(len(ranked), 1)
    return {f"top{k}": sum(true in best[:k] for true, best in ranked) / num_videos for k in (1, 5)}
