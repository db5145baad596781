"""Kinetics-style lists: a label CSV (`id,name`) and one list file per split.

A list line is `path label_id [label_id ...]`, read from the right because names may hold spaces.
Videos that were never downloaded stay rows with status `missing`.
Source: list files of X-CLIP, ViFi-CLIP and BIKE.
"""

from __future__ import annotations

from collections.abc import Iterator

import fsspec

from knowledge.datasets.listing import SPLITS, DatasetSpec, ListedVideo, Listing, fixed_classes


def read(spec: DatasetSpec) -> Listing:
    """Read label CSV and list files.

    Raises:
        ValueError: a file is missing or malformed, or a label is unknown.
    """
    source = spec.labels or spec.classes
    if not source or not spec.lists:
        raise ValueError(
            "dataset 'kinetics' needs --labels LABELS.csv and --list SPLIT=FILE for each split"
        )
    classes = fixed_classes(source)
    known = {int(each) for each in classes["class_id"]}
    videos = [
        video for split, path in spec.lists.items() for video in _read_list(split, path, known)
    ]
    return Listing(classes, videos)


def _read_list(split: str, path: str, known: set[int]) -> Iterator[ListedVideo]:
    if split not in SPLITS:
        raise ValueError(
            f"--list {split}={path}: split {split!r} is not one of {', '.join(SPLITS)}"
        )
    try:
        with fsspec.open(path, "rt", encoding="utf-8") as file:
            lines = file.read().splitlines()
    except FileNotFoundError as error:
        raise ValueError(f"list file {path} does not exist") from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        labels: list[int] = []
        while len(words) > 1 and words[-1].isdigit():
            labels.insert(0, int(words.pop()))
        if not labels:
            raise ValueError(f"{path}, line {number}: {line!r} does not end in a label id")
        unknown = [label for label in labels if label not in known]
        if unknown:
            raise ValueError(f"{path}, line {number}: label {unknown[0]} is not in the label CSV")
        yield ListedVideo(" ".join(words), split, tuple(sorted(set(labels))))
