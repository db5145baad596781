"""The demo world as a dataset: the manifests that `generate` writes beside the clips."""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from knowledge.datasets.listing import Listing
from knowledge.datasets.readers import folder
from knowledge.datasets.spec import DatasetSpec

OPTIONS = ("labels",)
SINGLE_LABEL = "single.csv"


def read(spec: DatasetSpec) -> Listing:
    """Read the single-label clips, or those of the manifest given with `--labels` (multi.csv).

    Raises:
        ValueError: the directory holds no generated world.
    """
    if not (spec.videos / SINGLE_LABEL).exists():
        raise ValueError(
            f"{spec.videos} holds no demo world ({SINGLE_LABEL} is missing); "
            f"run `actionlore world {spec.videos}`"
        )
    labels = spec.labels or str(spec.videos / SINGLE_LABEL)
    return folder.read(spec.model_copy(update={"labels": labels, "classes": "stickworld"}))


def write_part(world: Path, name: str, labels: Collection[str]) -> Path:
    """Write a manifest of those single-label clips whose class is one of `labels`; its path."""
    with (world / SINGLE_LABEL).open(newline="", encoding="utf-8") as file:
        head, *clips = csv.reader(file)
    path = world / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [head, *(clip for clip in clips if clip[1] in labels)]
        )
    return path
