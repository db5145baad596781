"""Hard negatives of videos, and what rejected the other candidates."""

from __future__ import annotations

from typing import Any

import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.kinds import NEGATIVE_STATUS
from artifacts.views.rows import as_cells, as_text

HARDEST = 3
"""Negatives shown of each video."""


def negatives_of(artifact: Artifact, video_id: str, limit: int) -> list[dict[str, Any]]:
    """A video's candidates by falling cosine.

    Raises:
        ValueError: not a negatives artifact, or the video is not in it.
    """
    _require_negatives(artifact)
    table = artifact.read()
    table = table.filter(pc.equal(table["video_id"], video_id))
    if not table.num_rows:
        raise ValueError(f"{artifact.ref} has no video {video_id!r}")
    columns = ["rank", "dataset_rank", "name", "cosine", "margin", "cooccurrence_votes"]
    columns += ["status", "reason"]
    return [as_cells(row) for row in table.select(columns).slice(0, limit).to_pylist()]


def candidates_by_status(artifact: Artifact) -> list[dict[str, str]]:
    """How many candidates were kept and what rejected the others, in the order of the tests."""
    counts = artifact.manifest.report.get("candidates", {})
    total = sum(counts.values())
    return [
        {
            "status": status,
            "candidates": str(counts[status]),
            "%": f"{100 * counts[status] / total:.1f}",
        }
        for status in NEGATIVE_STATUS
        if counts.get(status)
    ]


def nearest_negatives(artifact: Artifact, limit: int) -> list[dict[str, str]]:
    """The hardest negatives of the first videos, a line for each.

    Raises:
        ValueError: not a negatives artifact.
    """
    _require_negatives(artifact)
    lines: dict[str, dict[str, str]] = {}
    for part in artifact.parts(["video_id", "rank", "name", "cosine", "status"]):
        first = pc.unique(part["video_id"]).slice(0, limit - len(lines))
        for row in part.filter(pc.is_in(part["video_id"], first)).to_pylist():
            empty = {"video": row["video_id"], "own class": "", "hardest negatives": ""}
            line = lines.setdefault(row["video_id"], empty)
            text = f"{as_text(row['name'])} {row['cosine']:.3f}"
            if row["status"] == "own_class":
                line["own class"] = text
            elif row["rank"] and row["rank"] <= HARDEST:
                line["hardest negatives"] += ", " * (row["rank"] > 1) + text
        if len(lines) == limit:
            break
    return list(lines.values())


def _require_negatives(artifact: Artifact) -> None:
    if artifact.manifest.kind != "negatives":
        raise ValueError(f"{artifact.ref} is not a negatives artifact")
