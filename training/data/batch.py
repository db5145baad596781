"""Clips and what is joined to them by id; positions of rows in files never matter.

Legend: B videos of a batch, T frames, D embedding, K classes, M texts,
R texts per video (1 + k: its class's prompt first), S pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from training.data.order import EpochSeed, Ints
from training.data.video_set import VideoSet

if TYPE_CHECKING:
    from training.data.negatives import Negatives


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips, their classes and, in training, their texts."""

    video_ids: tuple[str, ...]
    clips: torch.Tensor
    """CLIP features (B, T, D) float32, not normalised; or pictures (B, T, 3, S, S) uint8."""
    class_ids_B: torch.Tensor
    texts_BRD: torch.Tensor | None = None
    """CLIP features of the texts, not normalised."""
    text_class_ids_BR: torch.Tensor | None = None
    """-1 where the text is of no class of the dataset, or there is none."""
    text_present_BR: torch.Tensor | None = None
    """False where a video has fewer negatives than R - 1; None: all are present."""
    draws_B: torch.Tensor | None = None
    """In training, a random number below 2^31 for each clip of an epoch."""
    labels_BK: torch.Tensor | None = None
    """For videos of several classes: True for each of a video's, by position in the class list."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, torch.Tensor)
        }
        return Batch(**{**vars(self), **moved})


def make_batch(
    videos: VideoSet,
    index_B: Ints,
    clips: torch.Tensor,
    negatives: Negatives | None,
    draw: EpochSeed | None = None,
) -> Batch:
    """A batch of clips already fetched for the videos at `index_B`; `draw` is None for test."""
    index = torch.from_numpy(index_B)
    batch: dict[str, Any] = {
        "video_ids": tuple(videos.video_ids[i] for i in index_B.tolist()),
        "clips": clips,
        "class_ids_B": videos.class_ids_N[index],
    }
    if draw is not None:
        batch["draws_B"] = draw.numbers(batch["video_ids"])
    if videos.labels_NK is not None:
        batch["labels_BK"] = videos.labels_NK[index]
    if negatives is not None:
        present_BR = negatives.present_NR[index]
        batch |= {
            "texts_BRD": negatives.features_MD[negatives.rows_NR[index]],
            "text_class_ids_BR": negatives.class_ids_NR[index],
            "text_present_BR": None if bool(present_BR.all()) else present_BR,
        }
    return Batch(**batch)
