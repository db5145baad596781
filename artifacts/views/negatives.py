"""Hard negatives of videos, and what rejected the other candidates."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.kinds import NEGATIVE_STATUS

HARDEST = 3
"""Negatives of each video in an overview."""


@dataclass(frozen=True)
class Candidate:
    """A text that may be a hard negative of a video; the columns of the kind `negatives`."""

    video_id: str
    rank: int | None
    """1 = hardest; None: not kept."""
    dataset_rank: int | None
    """1 = hardest of the dataset's own classes."""
    text_id: str
    class_id: int | None
    name: str
    cosine: float
    margin: float
    """Cosine of the video's own class minus this cosine."""
    cooccurrence_votes: int | None
    status: str
    """Kept, or what rejected it."""
    reason: str | None


@dataclass(frozen=True)
class StatusCount:
    """How many candidates ended the same way."""

    status: str
    num_candidates: int
    share: float
    """Of all candidates, in [0, 1]."""


@dataclass(frozen=True)
class VideoNegatives:
    """A video, its own class and its hardest negatives."""

    video_id: str
    own_class: Candidate | None
    hardest: tuple[Candidate, ...]
    """By rank, at most `HARDEST`."""


_COLUMNS = [field.name for field in fields(Candidate)]


def negatives_of(artifact: Artifact, video_id: str, limit: int) -> list[Candidate]:
    """A video's candidates by falling cosine.

    Raises:
        ValueError: not a negatives artifact, or the video is not in it.
    """
    _require_negatives(artifact)
    table = artifact.read(_COLUMNS)
    table = table.filter(pc.equal(table["video_id"], video_id))
    if not table.num_rows:
        raise ValueError(f"{artifact.ref} has no video {video_id!r}")
    return [Candidate(**row) for row in table.slice(0, limit).to_pylist()]


def candidates_by_status(artifact: Artifact) -> list[StatusCount]:
    """How many candidates were kept and what rejected the others, in the order of the tests."""
    counts = artifact.manifest.report.get("candidates", {})
    total = sum(counts.values())
    return [
        StatusCount(status, counts[status], counts[status] / total)
        for status in NEGATIVE_STATUS
        if counts.get(status)
    ]


def nearest_negatives(artifact: Artifact, limit: int) -> list[VideoNegatives]:
    """The hardest negatives of the first videos.

    Raises:
        ValueError: not a negatives artifact.
    """
    _require_negatives(artifact)
    found: dict[str, list[Candidate]] = {}
    for part in artifact.parts(_COLUMNS):
        first = pc.unique(part["video_id"]).slice(0, limit - len(found))
        for row in part.filter(pc.is_in(part["video_id"], first)).to_pylist():
            found.setdefault(row["video_id"], []).append(Candidate(**row))
        if len(found) == limit:
            break
    return [
        VideoNegatives(
            video_id,
            next((each for each in candidates if each.status == "own_class"), None),
            tuple(each for each in candidates if each.rank and each.rank <= HARDEST),
        )
        for video_id, candidates in found.items()
    ]


def _require_negatives(artifact: Artifact) -> None:
    if artifact.manifest.kind != "negatives":
        raise ValueError(f"{artifact.ref} is not a negatives artifact")
