"""Which dataset to read, and where its files are."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from artifacts.frozen import Frozen, check_known
from knowledge.datasets import readers


def reader_names() -> list[str]:
    """Names of all dataset readers; none of them is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(readers.__path__))


class DatasetSpec(Frozen):
    """Which dataset to read and where its files are."""

    dataset: str
    """Reader of the dataset's lists or folders."""
    videos: Path
    """Directory that the videos' paths are relative to."""
    labels: str | None = None
    """Label file, or directory of the official list files (path or fsspec URL)."""
    lists: dict[str, str] = Field(default_factory=dict)
    """List file of a split, for readers that use them."""
    classes: str | None = None
    """A known class list (ava, ucf101, ...) or a CSV file with id,name[,group]; fixes the ids."""
    split_number: Literal[1, 2, 3] | None = None
    """Which of the official splits, for datasets that have three; if omitted 1."""
    name: str | None = None
    """Name of the artifacts; if omitted the reader's."""

    @field_validator("dataset")
    @classmethod
    def _has_a_reader(cls, dataset: str) -> str:
        check_known("dataset", dataset, reader_names())
        return dataset

    @property
    def official_split(self) -> int:
        """The split number, 1 if none is given."""
        return self.split_number or 1

    @property
    def artifact_name(self) -> str:
        """Name that the artifacts get."""
        return self.name or self.dataset
