"""Accuracies by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from artifacts.artifact import Artifact

METRICS = ("top1", "top5", "map")


@dataclass(frozen=True)
class Accuracy:
    """How well one protocol did, in [0, 1]; a metric that it does not have is None."""

    protocol: str
    is_frozen: bool
    """Frozen CLIP's, whatever was trained."""
    top1: float | None
    top5: float | None
    map: float | None
    """Mean over the classes of average precision."""
    split: str
    num_videos: int | None
    """That the metrics are computed over."""


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


def _accuracy(protocol: str, rows: list[dict[str, Any]]) -> Accuracy:
    known = {row["metric"]: row for row in rows if row["metric"] in METRICS}
    return Accuracy(
        protocol,
        is_frozen=protocol.startswith("zero_shot"),
        **{name: known[name]["value"] if name in known else None for name in METRICS},
        split=rows[0]["split"],
        num_videos=next((row["num_videos"] for row in known.values()), None),
    )
