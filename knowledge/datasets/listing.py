"""What a dataset reader is given, and what it returns: the classes and videos of a dataset."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import pandas as pd

from knowledge.datasets import readers
from knowledge.datasets.spec import DatasetSpec

SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}
"""Split by the names that datasets give it, in lower case."""
_FLAGS = {"labels": "labels", "lists": "list", "classes": "classes", "split_number": "split-number"}
"""Command-line options of the fields that only some readers use."""


@dataclass(frozen=True)
class ListedVideo:
    """One video as a dataset lists it."""

    path: str
    """Relative to the video directory, with forward slashes."""
    split: str
    class_ids: tuple[int, ...]

    @property
    def video_id(self) -> str:
        """The path without its suffix."""
        return str(PurePosixPath(self.path).with_suffix(""))


@dataclass(frozen=True)
class Listing:
    """A dataset's classes (class_id, name, group) and videos."""

    classes: pd.DataFrame
    videos: Sequence[ListedVideo]
    list_files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 (hex) of each list file that was read, by file name."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was left out or doubtful, by reason."""
    forms: Mapping[str, str] = field(default_factory=dict)
    """How a list was read that could have had another form, by file name."""
    several_labels: str = ""
    """How its lists give several labels to a video; empty where they cannot."""


def read_listing(spec: DatasetSpec) -> Listing:
    """Read a dataset with the reader of its name.

    Raises:
        ValueError: an option that it does not use, whatever it finds wrong with the
            files, a path that leads out of the video directory, or two paths of one video_id.
    """
    if not spec.videos.is_dir():
        raise ValueError(f"video directory {spec.videos} does not exist; give it with --videos")
    module = importlib.import_module(f"{readers.__name__}.{spec.dataset}")
    for name, flag in _FLAGS.items():
        if getattr(spec, name) and name not in module.OPTIONS:
            raise ValueError(f"--{flag} has no effect with dataset {spec.dataset!r}; leave it out")
    listing: Listing = module.read(spec)
    if not listing.videos:
        raise ValueError(
            "; ".join(
                [f"dataset {spec.dataset!r} lists no videos below {spec.videos}", *told(listing)]
            )
        )
    return replace(listing, videos=_checked(listing, spec.videos))


def told(listing: Listing) -> list[str]:
    """How its lists were read, and what was left out or doubtful, a line each."""
    lines = [f"{name}: read as {form}" for name, form in listing.forms.items()]
    counts = ", ".join(f"{reason} ({count})" for reason, count in listing.counts.items() if count)
    return [*lines, f"left out or doubtful: {counts}"] if counts else lines


def _checked(listing: Listing, root: Path) -> list[ListedVideo]:
    """The videos with normal paths inside the directory, each video once."""
    found: dict[str, ListedVideo] = {}
    for video in listing.videos:
        path = PurePosixPath(video.path)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError(
                f"listed video {video.path!r} must be a path relative to {root} and inside it"
            )
        video = replace(video, path=str(path))
        other = found.setdefault(video.video_id, video)
        if other is not video:
            once = f" ({listing.several_labels})" if listing.several_labels else ""
            raise ValueError(
                f"{other.path!r} and {video.path!r} are the same video {video.video_id!r}; list it "
                f"once{once}, or rename a file"
            )
    return list(found.values())


def class_table(ids: Mapping[str, int]) -> pd.DataFrame:
    """Classes without groups, from the ids of their names."""
    return pd.DataFrame({"class_id": ids.values(), "name": ids.keys(), "group": "all"})


def alphabetical_ids(names: Iterable[str]) -> dict[str, int]:
    """Ids from 0 of the different names, in their order."""
    return {name: class_id for class_id, name in enumerate(sorted(set(names)))}
