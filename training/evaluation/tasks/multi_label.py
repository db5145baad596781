"""Any number of classes per video: mean average precision and F1.

Legend: N videos, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.data.class_list import ClassList
    from training.data.video_set import VideoSet
    from training.evaluation.scoring import Scored

SEVERAL_LABELS = True
METRICS = ("map", "map_micro", "f1_micro", "f1_macro")


def num_top(num_classes: int) -> int:
    """All: average precision needs every probability."""
    return num_classes


def rows(
    protocol: str, videos: VideoSet, found: Scored, classes: ClassList
) -> Iterator[dict[str, Any]]:
    """A video's classes, and all by falling probability."""
    assert videos.labels_NK is not None
    for i, ranked in found.ranked(protocol, classes):
        true = videos.labels_NK[i].nonzero()[:, 0].tolist()
        yield {
            "protocol": protocol,
            "video_id": videos.video_ids[i],
            "class_ids": [classes.class_ids[k] for k in true],
            **ranked,
        }


def measure(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """`map` and the others of `multilabel_metrics`."""
    import torch

    from training.evaluation.metrics import multilabel_metrics

    if not rows:
        return {}
    class_ids = sorted(rows[0]["top_class_ids"])
    place = {class_id: k for k, class_id in enumerate(class_ids)}
    probabilities_NK = torch.zeros(len(rows), len(class_ids), dtype=torch.float64)
    labels_NK = torch.zeros(len(rows), len(class_ids), dtype=torch.bool)
    for i, row in enumerate(rows):
        probabilities_NK[i, [place[c] for c in row["top_class_ids"]]] = torch.tensor(
            row["top_probabilities"], dtype=torch.float64
        )
        labels_NK[i, [place[c] for c in row["class_ids"]]] = True
    return multilabel_metrics(probabilities_NK, labels_NK)


def selection(protocol: str, videos: VideoSet, found: Scored, classes: ClassList) -> float:
    """`map`."""
    import torch

    from training.evaluation.metrics import multilabel_metrics

    assert videos.labels_NK is not None
    order_NK = found.top_positions[protocol]
    sorted_NK = found.top_probabilities[protocol]
    by_class_NK = torch.zeros_like(sorted_NK).scatter(1, order_NK, sorted_NK)
    labels_NK = videos.labels_NK[torch.from_numpy(found.index_N)]
    return multilabel_metrics(by_class_NK, labels_NK)["map"]
