"""Where clips come from; cached embeddings as such a source.

Legend: B videos, N videos of a split, T frames, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch

from artifacts.artifact import Artifact
from training.data.frame_cache import frame_arrays
from training.data.order import EpochSeed, Ints
from training.data.video_set import VideoSet


class ClipSource(Protocol):
    """Where clips come from."""

    unreadable: dict[str, str]
    """Reason by id, of videos found unusable while reading."""
    num_decoded: int
    """Clips decoded so far."""

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: EpochSeed | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index of the videos and their clips, batch by batch; `draw` is None for test."""
        ...


class CachedClips:
    """Frame embeddings in RAM or mapped, as float16 unit rows and their lengths."""

    def __init__(self, frames: Artifact, ram_bytes: int | None = None) -> None:
        """Read and verify them.

        Args:
            frames: the artifact.
            ram_bytes: see `frame_arrays`.

        Raises:
            CorruptArtifactError: a file is damaged.
        """
        self._arrays = frame_arrays(frames, ram_bytes)
        self.ref = frames.ref
        self.status = dict(zip(self._arrays.video_ids, self._arrays.statuses, strict=True))
        self._row = {video_id: i for i, video_id in enumerate(self.status)}
        self.unreadable: dict[str, str] = {}
        self.num_decoded = 0

    @property
    def dim(self) -> int:
        """Embedding width D."""
        return int(self._arrays.units_NTD.shape[-1])

    def fetch(self, video_ids: Sequence[str]) -> torch.Tensor:
        """(B, T, D) float32 CLIP features, not normalised."""
        rows = torch.tensor([self._row[video_id] for video_id in video_ids], dtype=torch.long)
        units_BTD = self._arrays.units_NTD[rows].float()
        return units_BTD * self._arrays.norms_NT[rows][..., None]

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: EpochSeed | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index (B,) of videos and their features (B, T, D); nothing is drawn."""
        for index_B in order:
            yield index_B, self.fetch([videos.video_ids[i] for i in index_B.tolist()])
