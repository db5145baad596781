"""Accuracies by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifacts.artifact import Artifact

UNREADABLE = "unreadable"
"""The share of videos that could not be scored; every other metric is an accuracy."""


@dataclass(frozen=True)
class Accuracy:
    """How well one protocol did."""

    protocol: str
    is_frozen: bool
    """Frozen CLIP's, whatever was trained."""
    values: dict[str, float]
    """Accuracies in [0, 1] by metric, such as `top1`, `top5`, or `map` and the others of videos
    with several classes; the main one first."""
    split: str
    num_videos: int | None
    """That the metrics are computed over."""
    num_unusable: int = 0
    """Further ones of the split, which could not be scored."""


def accuracies(artifact: Artifact) -> list[Accuracy]:
    """One row per protocol, in the artifact's order.

    Raises:
        ValueError: not a metrics artifact.
    """
    if artifact.manifest.kind != "metrics":
        raise ValueError(f"{artifact.ref} is not a metrics artifact")
    found: dict[str, list[dict[str, Any]]] = {}
    for row in artifact.read().to_pylist():
        found.setdefault(row["protocol"], []).append(row)
    return [_accuracy(protocol, rows) for protocol, rows in found.items()]


def is_frozen(protocol: str) -> bool:
    """Whether a protocol is of frozen CLIP: zero-shot, or its embeddings in few-shot episodes."""
    return protocol.startswith("zero_shot") or protocol.endswith("/frozen_clip")


def _accuracy(protocol: str, rows: list[dict[str, Any]]) -> Accuracy:
    known = [row for row in rows if row["metric"] != UNREADABLE]
    return Accuracy(
        protocol,
        is_frozen(protocol),
        values={row["metric"]: row["value"] for row in known},
        split=rows[0]["split"],
        num_videos=next((row["num_videos"] for row in known), None),
        num_unusable=sum(
            round(row["value"] * row["num_videos"]) for row in rows if row["metric"] == UNREADABLE
        ),
    )
