"""Few-shot splits of a dataset by the lists that CLIP-FSAR published: their classes are disjoint.

`--labels` is the directory of train_few_shot.txt, val_few_shot.txt and test_few_shot.txt. A line is
`SPLITn/PATH` or `SPLITn//PATH`, where n counts the split's classes from 0, such as
`test0//videos/fencing/a.avi`; where PATH is one word it is a video's id, such as `test0/88644`.
Videos are found by that path below `--videos` or, in another layout, by their name.

A class has the name of its videos' directory, and the id n, counted on from train to val to test.
With `--classes` its id and spelling are those of that list, found by name; lists of video ids name
no class, so there `--classes` has one row for each class, in the order of the counted ids.
Source: https://github.com/alibaba-mmai-research/CLIP-FSAR, `configs/projects/CLIPFSAR`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd

from knowledge.datasets.class_names import normalised
from knowledge.datasets.list_files import ListFiles, labels_directory
from knowledge.datasets.list_lines import path_and_numbers
from knowledge.datasets.listing import SPLITS, ListedVideo, Listing, class_table
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import VideoFiles, without_suffix

OPTIONS = ("labels", "classes")
_LINE = re.compile(r"(?P<split>[a-z]+)(?P<number>\d+)//?(?P<path>[^/].*)")


@dataclass(frozen=True)
class _Line:
    split: str
    number: int
    """Of the class within the split."""
    path: PurePosixPath
    where: str

    @property
    def folder(self) -> str:
        """The class's name; empty where the line holds a video's id."""
        return self.path.parent.name


def read(spec: DatasetSpec) -> Listing:
    """Read the three lists.

    Raises:
        ValueError: a list is missing or malformed, a class has two names or is in two splits, or
            its name is not known.
    """
    names = ", ".join(f"{split}_few_shot.txt" for split in SPLITS)
    directory, _ = labels_directory(spec, names)
    files = ListFiles()
    lines = [
        line
        for split in SPLITS
        for line in _read_list(files, f"{directory}/{split}_few_shot.txt", split)
    ]
    counted = _counted_ids(lines)
    folders = _folders(lines)
    if spec.classes:
        classes = files.classes(spec.classes)
        ids = _ids_in_list(classes, spec.classes, counted, folders)
    else:
        classes = class_table({_own_name(key, folders, lines): counted[key] for key in counted})
        ids = counted
    found = VideoFiles(spec.videos)
    videos = []
    for line in lines:
        path = str(line.path)
        if not (spec.videos / path).is_file():
            stem = without_suffix(line.path.name) if line.folder else path
            path = found.find(stem) or (path if line.folder else f"{path}.mp4")
        videos.append(ListedVideo(path, line.split, (ids[line.split, line.number],)))
    return Listing(classes, videos, files.hashes, found.counts)


def _read_list(files: ListFiles, path: str, split: str) -> Iterator[_Line]:
    for where, text in files.lines(path):
        match = _LINE.fullmatch(text)
        if not match or match["split"] != split:
            raise ValueError(f"{where}: {text!r} is not {split}NUMBER/ID or {split}NUMBER//PATH")
        if any(path_and_numbers(text, separator)[1] for separator in (" ", ",")):
            raise ValueError(f"{where}: {text!r} has more columns than {match['path']!r} should")
        yield _Line(split, int(match["number"]), PurePosixPath(match["path"]), where)


_Class = tuple[str, int]
"""Split, and number within it."""


def _counted_ids(lines: list[_Line]) -> dict[_Class, int]:
    """Ids of the classes, counted on from split to split."""
    ids: dict[_Class, int] = {}
    first = 0
    for split in SPLITS:
        numbers = sorted({line.number for line in lines if line.split == split})
        ids |= {(split, number): first + number for number in numbers}
        first += numbers[-1] + 1 if numbers else 0
    return ids


def _folders(lines: list[_Line]) -> dict[_Class, str]:
    """Directory names of the classes; empty for lists of video ids."""
    folders: dict[_Class, str] = {}
    classes: dict[str, _Class] = {}
    for line in lines:
        key = line.split, line.number
        if folders.setdefault(key, line.folder) != line.folder:
            raise ValueError(
                f"{line.where}: class {line.split}{line.number} is named {line.folder!r} here and "
                f"{folders[key]!r} before; the directory of a video must be its class"
            )
        other = classes.setdefault(line.folder, key) if line.folder else key
        if other != key:
            raise ValueError(
                f"{line.where}: class {line.folder!r} is {line.split}{line.number} here and "
                f"{other[0]}{other[1]} before; few-shot splits have no class in common"
            )
    return folders


def _own_name(key: _Class, folders: dict[_Class, str], lines: list[_Line]) -> str:
    if not folders[key]:
        where = next(line.where for line in lines if (line.split, line.number) == key)
        raise ValueError(
            f"{where}: a list of video ids does not name its classes; give --classes CSV (id,name) "
            "with a row for each class of train, then val, then test"
        )
    return folders[key]


def _ids_in_list(
    classes: pd.DataFrame, source: str, counted: dict[_Class, int], folders: dict[_Class, str]
) -> dict[_Class, int]:
    """Ids in a class list: by name or, for lists of video ids, by place."""
    if not all(folders.values()):
        if len(classes) != max(counted.values()) + 1:
            raise ValueError(
                f"class list {source} has {len(classes)} classes, the lists have "
                f"{max(counted.values()) + 1}; give a row for each class of train, then val, then "
                "test"
            )
        in_order = sorted(classes["class_id"].tolist())
        return {key: int(in_order[place]) for key, place in counted.items()}
    by_name = {
        normalised(name): int(class_id)
        for name, class_id in zip(classes["name"], classes["class_id"], strict=True)
    }
    lacking = [name for name in folders.values() if normalised(name) not in by_name]
    if lacking:
        raise ValueError(f"class {lacking[0]!r} of the lists is not in class list {source}")
    return {key: by_name[normalised(name)] for key, name in folders.items()}
