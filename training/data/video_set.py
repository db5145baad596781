"""The usable videos of a split.

Legend: N videos, K classes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from training.config.run import RunConfig


@dataclass(frozen=True, eq=False)
class VideoSet:
    """The usable videos of one split, by rising id."""

    split: str
    video_ids: tuple[str, ...]
    paths: tuple[str, ...]
    class_ids_N: torch.Tensor
    skipped: Counter[str]
    """Videos that cannot be used, by status."""
    num_not_drawn: int = 0
    """Usable videos beyond `data.shots`."""
    labels_NK: torch.Tensor | None = None
    """For videos of several classes: True for each of a video's, by position in the class list.
    `class_ids_N` then holds the first of them, -1 without any."""

    fingerprints: tuple[str | None, ...] = ()
    """Of the files as they were registered, where that is known."""

    def __len__(self) -> int:
        return len(self.video_ids)

    def columns(self, index_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Columns of a batch: `labels_BK` where videos have several classes."""
        return {} if self.labels_NK is None else {"labels_BK": self.labels_NK[index_B]}

    @property
    def num_listed(self) -> int:
        """Videos of the split, usable or not."""
        return len(self) + self.num_not_drawn + self.skipped.total()


def check_share(unusable: int, total: int, config: RunConfig, where: str) -> None:
    """Refuse to go on with too few videos.

    Raises:
        ValueError: none is usable, or more are not than `data.max_unreadable` allows.
    """
    limit = config.data.max_unreadable
    if unusable > limit * total or unusable == total:
        raise ValueError(
            f"{where}: {unusable} of {total} videos cannot be used, more than "
            f"data.max_unreadable={limit:g} allows; see their reasons, or raise the limit"
        )
