"""The demo world as a dataset: the manifests that `generate` writes beside the clips."""

from __future__ import annotations

from knowledge.datasets import folder
from knowledge.datasets.listing import DatasetSpec, Listing

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
