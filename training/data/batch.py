"""Clips and what is joined to them by id; positions of rows in files never matter.

Legend: B videos of a batch, T frames, D embedding, S pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch

from training.data.order import EpochSeed, Ints
from training.data.video_set import VideoSet

Columns = dict[str, torch.Tensor]
"""By name, with a leading dimension B; the name's suffix tells the others."""


class Joined(Protocol):
    """What belongs to the videos of a split beyond their clips and class."""

    def columns(self, index_B: torch.Tensor) -> Columns:
        """Columns of a batch of the videos at an index."""

    @property
    def counts(self) -> Mapping[str, int]:
        """What a run's report says of it, such as videos that lack something."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips, their classes, and what is joined to them."""

    video_ids: tuple[str, ...]
    clips: torch.Tensor
    """CLIP features (B, T, D) float32, not normalised; or pictures (B, T, 3, S, S) uint8."""
    class_ids_B: torch.Tensor
    draws_B: torch.Tensor | None = None
    """In training, a random number below 2^31 for each clip of an epoch."""
    columns: Columns = field(default_factory=dict)
    """Of the videos' labels, and of what the method joins."""

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        """The batch with every tensor changed."""
        return replace(
            self,
            clips=change(self.clips),
            class_ids_B=change(self.class_ids_B),
            draws_B=None if self.draws_B is None else change(self.draws_B),
            columns={name: change(tensor) for name, tensor in self.columns.items()},
        )

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def part(self, start: int, stop: int) -> Batch:
        """The clips from `start` to `stop`."""
        part = self.map(lambda tensor: tensor[start:stop])
        return replace(part, video_ids=self.video_ids[start:stop])


def make_batch(
    videos: VideoSet,
    index_B: Ints,
    clips: torch.Tensor,
    joined: Sequence[Joined] = (),
    seed: EpochSeed | None = None,
) -> Batch:
    """A batch of clips already fetched for the videos at `index_B`.

    Args:
        videos: of the split.
        index_B: which of them.
        clips: theirs.
        joined: further columns.
        seed: of the epoch; None for test.
    """
    index = torch.from_numpy(index_B)
    video_ids = tuple(videos.video_ids[i] for i in index_B.tolist())
    columns = videos.columns(index)
    for each in joined:
        columns |= each.columns(index)
    draws_B = None if seed is None else seed.numbers(video_ids)
    return Batch(video_ids, clips, videos.class_ids_N[index], draws_B, columns)
