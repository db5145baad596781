"""List files of an evaluation protocol: lines `path label`, one file per split, and a class list.

* `--list SPLIT=FILE`, for train, val and test or some of them: lines `path label_id
  [label_id ...]`, or with a number of frames between path and labels, which is not used; see
  `knowledge.datasets.list_lines`. They are read from the right because names may hold spaces.
* `--labels` (`id,name`) or `--classes` says what the ids mean. A protocol that trains on base
  classes and tests on novel ones numbers each part from 0: every part is a dataset of its own, with
  its own class list.

Paths are relative to `--videos`. A file that is not there is looked for by its name, with whatever
suffix, anywhere below, unless the lists hold several of that name. Videos that are nowhere stay
rows with status `missing`.
Source: list files of X-CLIP, ViFi-CLIP, BIKE.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from knowledge.datasets.list_files import ListFiles
from knowledge.datasets.list_lines import read_label_lines
from knowledge.datasets.listing import SPLITS, ListedVideo, Listing
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import VideoFiles, without_suffix

OPTIONS = ("labels", "lists", "classes")


def read(spec: DatasetSpec) -> Listing:
    """Read the list of each split.

    Raises:
        ValueError: no list or class list, a file is missing or malformed, or a label is unknown.
    """
    if not spec.lists:
        raise ValueError(f"dataset {spec.dataset!r} needs --list SPLIT=FILE for each split")
    if bool(spec.labels) == bool(spec.classes):
        raise ValueError(
            f"dataset {spec.dataset!r} with --list needs --labels LABELS.csv (id,name) or "
            "--classes, not both: they say what the label ids mean"
        )
    files = ListFiles()
    source = spec.labels or spec.classes or ""
    classes = files.classes(source)
    known = {int(each) for each in classes["class_id"]}
    listed = [
        video
        for split, path in spec.lists.items()
        for video in _read_list(files, split, path, known, source)
    ]
    videos, counts = _found(listed, spec.videos)
    several = "several labels on one line: path label label"
    return Listing(classes, videos, files.hashes, counts, files.forms, several)


def _read_list(
    files: ListFiles, split: str, path: str, known: set[int], source: str
) -> Iterator[ListedVideo]:
    if split not in SPLITS:
        raise ValueError(
            f"--list {split}={path}: split {split!r} is not one of {', '.join(SPLITS)}"
        )
    for line in read_label_lines(files, path, known):
        if unknown := sorted(set(line.numbers) - known):
            raise ValueError(f"{line.where}: label {unknown[0]} is not in class list {source}")
        yield ListedVideo(line.path, split, tuple(sorted(set(line.numbers))))


def _found(listed: list[ListedVideo], root: Path) -> tuple[list[ListedVideo], dict[str, int]]:
    """The videos with the paths of their files, and how many were found by name only."""
    times_listed = Counter(_stem(video) for video in listed)
    absent = {
        video.path: _stem(video)
        for video in listed
        if times_listed[_stem(video)] == 1
        and (path := PurePosixPath(video.path))
        and not (path.is_absolute() or ".." in path.parts)
        and not os.path.exists(root / path)  # noqa: PTH110
    }
    if not absent:
        return listed, {}
    files = VideoFiles(root)
    paths = {path: found for path, stem in absent.items() if (found := files.find(stem))}
    videos = [replace(video, path=paths.get(video.path, video.path)) for video in listed]
    return videos, {"found by name": len(paths), **files.counts}


def _stem(video: ListedVideo) -> str:
    return without_suffix(PurePosixPath(video.path).name)
