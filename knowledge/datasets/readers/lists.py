"""List files of an evaluation protocol: lines `path label`, one file per split, and a class list.

* `--list SPLIT=FILE`, for train, val and test or some of them: lines `path label_id
  [label_id ...]`, read from the right because names may hold spaces.
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
from knowledge.datasets.listing import SPLITS, ListedVideo, Listing
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import VideoFiles

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
    classes = files.classes(spec.labels or spec.classes or "")
    known = {int(each) for each in classes["class_id"]}
    listed = [
        video
        for split, path in spec.lists.items()
        for video in _read_list(files, split, path, known)
    ]
    videos, counts = _found(listed, spec.videos)
    several = "several labels on one line: path label label"
    return Listing(classes, videos, files.hashes, counts, several_labels=several)


def _read_list(files: ListFiles, split: str, path: str, known: set[int]) -> Iterator[ListedVideo]:
    if split not in SPLITS:
        raise ValueError(
            f"--list {split}={path}: split {split!r} is not one of {', '.join(SPLITS)}"
        )
    for where, line in files.lines(path):
        rest, labels = line, set[int]()
        while len(words := rest.rsplit(None, 1)) == 2 and words[1].isdecimal():
            rest = words[0]
            labels.add(int(words[1]))
        if not labels:
            raise ValueError(f"{where}: {line!r} does not end in a label id")
        if unknown := sorted(labels - known):
            raise ValueError(f"{where}: label {unknown[0]} is not in the label CSV")
        yield ListedVideo(rest, split, tuple(sorted(labels)))


def _found(listed: list[ListedVideo], root: Path) -> tuple[list[ListedVideo], dict[str, int]]:
    """The videos with the paths of their files, and how many were found by name only."""
    times_listed = Counter(PurePosixPath(video.path).stem for video in listed)
    absent = {
        video.path: path.stem
        for video in listed
        if times_listed[(path := PurePosixPath(video.path)).stem] == 1
        and not (path.is_absolute() or ".." in path.parts)
        and not os.path.exists(root / path)  # noqa: PTH110
    }
    if not absent:
        return listed, {}
    files = VideoFiles(root)
    paths = {path: found for path, stem in absent.items() if (found := files.find(stem))}
    videos = [replace(video, path=paths.get(video.path, video.path)) for video in listed]
    return videos, {"found by name": len(paths), **files.counts}
