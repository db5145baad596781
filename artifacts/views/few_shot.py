"""Accuracies over few-shot episodes by protocol."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from artifacts.artifact import Artifact


@dataclass(frozen=True)
class FewShotAccuracy:
    """How well one protocol did on a set of episodes."""

    protocol: str
    ways: int
    shots: int
    split: str
    num_queries: int
    accuracy: float
    """Mean over the episodes, in [0, 1]."""
    ci95: float
    """Half the width of its 95 % interval."""


def is_few_shot(metrics: Artifact) -> bool:
    """Whether a metrics artifact was measured on episodes."""
    return "episodes" in metrics.manifest.inputs


def few_shot_accuracies(metrics: Artifact) -> list[FewShotAccuracy]:
    """One row per protocol, in the artifact's order.

    Raises:
        ValueError: metrics that were not measured on episodes.
    """
    if not is_few_shot(metrics):
        raise ValueError(f"{metrics.ref} was not measured on few-shot episodes")
    config = metrics.store.get(metrics.manifest.inputs["episodes"].ref).manifest.config
    values: dict[str, dict[str, float]] = defaultdict(dict)
    counts: dict[str, int] = {}
    for row in metrics.read().to_pylist():
        values[row["protocol"]][row["metric"]] = row["value"]
        counts[row["protocol"]] = row["num_videos"]
    return [
        FewShotAccuracy(
            protocol=protocol,
            ways=config["ways"],
            shots=config["shots"],
            split=config["split"],
            num_queries=counts[protocol],
            accuracy=of_it["accuracy"],
            ci95=of_it["ci95"],
        )
        for protocol, of_it in values.items()
    ]
