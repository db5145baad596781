"""The batches of an epoch, and what its random draws depend on.

Legend: B videos of a batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EpochSeed:
    """What random decisions about a clip depend on, beside its video."""

    seed: int
    epoch: int

    def generator(self, video_id: str) -> np.random.Generator:
        """A generator of its own for a video."""
        digest = np.frombuffer(hashlib.sha256(video_id.encode()).digest()[:16], np.uint32)
        return np.random.default_rng([self.seed, self.epoch, *digest.tolist()])

    def numbers(self, video_ids: Iterable[str]) -> torch.Tensor:
        """A number (B,) below 2^31 for each video."""
        digests = (f"{self.seed}/{self.epoch}/{video_id}".encode() for video_id in video_ids)
        words = (hashlib.sha256(digest).digest()[:4] for digest in digests)
        return torch.tensor([int.from_bytes(word, "little") >> 1 for word in words])


class Order(Protocol):
    """Which videos make up the batches of an epoch."""

    @property
    def num_steps(self) -> int:
        """Batches of every epoch."""

    def batches(self, epoch: int) -> list[Ints]:
        """Indices (B,) of the videos of each batch; must depend on nothing but the epoch."""


@dataclass(frozen=True)
class Shuffled:
    """Every video once an epoch, in an order that depends on seed and epoch only."""

    num_videos: int
    batch_size: int
    seed: int

    @property
    def num_steps(self) -> int:
        """The last batch may be smaller."""
        return math.ceil(self.num_videos / self.batch_size)

    def batches(self, epoch: int) -> list[Ints]:
        """Batches of a random order."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_videos)
        return list(chunks(order.astype(np.int64), self.batch_size))


def chunks(order: Ints, batch_size: int) -> Iterator[Ints]:
    """Batches of an order; the last one may be smaller, no video is left out."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
