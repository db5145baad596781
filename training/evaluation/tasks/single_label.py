"""One class per video: top-1 and top-5.

Legend: N videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.data.class_list import ClassList
    from training.data.video_set import VideoSet
    from training.evaluation.scoring import Scored

SEVERAL_LABELS = False
METRICS = ("top1", "top5")
NUM_TOP = 5
"""Classes stored per prediction."""


def num_top(num_classes: int) -> int:
    """The most probable ones."""
    return min(NUM_TOP, num_classes)


def rows(
    protocol: str, videos: VideoSet, found: Scored, classes: ClassList
) -> Iterator[dict[str, Any]]:
    """A video's class, and the most probable ones."""
    for i, ranked in found.ranked(protocol, classes):
        yield {
            "protocol": protocol,
            "video_id": videos.video_ids[i],
            "class_ids": [int(videos.class_ids_N[i])],
            **ranked,
        }


def measure(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """`top1` and `top5`."""
    from training.evaluation.metrics import accuracies

    return accuracies([(row["class_ids"][0], row["top_class_ids"]) for row in rows])


def selection(protocol: str, videos: VideoSet, found: Scored, classes: ClassList) -> float:
    """`top1`."""
    import torch

    true_N = videos.class_ids_N[torch.from_numpy(found.index_N)]
    hits_N = found.top_positions[protocol][:, 0] == classes.positions(true_N)
    return float(hits_N.float().mean()) if len(hits_N) else 0.0
