"""Kinetics-400, -600, -700 by their official CSV files, and Kinetics-style list files.

* CSV: columns label, youtube_id, time_start, time_end, split. `--labels` is the directory of one
  version's files, or one file. Videos are found by name anywhere below `--videos`, so flat, class
  and split directories all do: `ID_000012_000022.mp4` (times in s), or `ID.mp4` for an id that
  is listed once. Class ids follow the names' alphabetical order, or `--classes`.
* List files (`--list`, one per split), as `knowledge.datasets.readers.lists` reads them.

Videos that were never downloaded stay rows with status `missing`.
Source: https://github.com/cvdfoundation/kinetics-dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from knowledge.datasets.list_files import ListFiles, labels_directory
from knowledge.datasets.listing import (
    SPLIT_NAMES,
    ListedVideo,
    Listing,
    alphabetical_ids,
    class_table,
)
from knowledge.datasets.readers import lists
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import VideoFiles

OPTIONS = ("labels", "lists", "classes")
_COLUMNS = ("youtube_id", "time_start", "time_end", "split")


@dataclass(frozen=True)
class Clip:
    """One row of a CSV file."""

    label: str
    youtube_id: str
    start_s: int
    end_s: int
    split: str

    @property
    def name(self) -> str:
        """Usual file name without its suffix."""
        return f"{self.youtube_id}_{self.start_s:06d}_{self.end_s:06d}"


@dataclass
class Clips:
    """The labelled rows of the CSV files, and what was left out."""

    rows: list[Clip] = field(default_factory=list)
    num_unlabelled: int = 0
    num_repeated: int = 0
    """Rows that say the same as an earlier one."""
    num_other_files: int = 0
    """CSV files without the columns."""


def read(spec: DatasetSpec) -> Listing:
    """Read CSV files, or list files.

    Raises:
        ValueError: a file is missing or malformed, or a label is unknown.
    """
    if spec.lists:
        return lists.read(spec)
    if spec.labels and spec.labels.endswith(".csv"):
        paths = [spec.labels]
    else:
        needed = "the CSV files of one Kinetics version; or give --list SPLIT=FILE for each split"
        directory, names = labels_directory(spec, needed)
        paths = [f"{directory}/{name}" for name in names if name.endswith(".csv")]
    files = ListFiles()
    clips = read_csv_files(files, paths)
    if not clips.rows:
        raise ValueError(
            f"--labels {spec.labels}: no rows with columns label, {', '.join(_COLUMNS)}; "
            "list files need --list SPLIT=FILE"
        )
    classes = files.classes(spec.classes) if spec.classes else None
    return clips_listing(spec, clips, classes, files)


def read_csv_files(files: ListFiles, paths: Sequence[str]) -> Clips:
    """The rows of those files that have the columns of a Kinetics CSV.

    Raises:
        ValueError: two list the same split, or a row is malformed.
    """
    clips = Clips()
    source: dict[str, str] = {}
    seen: set[Clip] = set()
    for path in paths:
        table = files.table(path)
        if not set(_COLUMNS) <= set(table.columns):
            clips.num_other_files += 1
            continue
        labels = table["label"] if "label" in table else [""] * len(table)
        columns = (table[column] for column in _COLUMNS)
        for line, *row in zip(table.index, labels, *columns, strict=True):
            clip = _clip(row, f"{path}, line {line}")
            if source.setdefault(clip.split, path) != path:
                raise ValueError(
                    f"{path} and {source[clip.split]} both list split {clip.split}; "
                    "keep the files of one version in the directory"
                )
            if not clip.label:
                clips.num_unlabelled += 1
            elif clip in seen:
                clips.num_repeated += 1
            else:
                seen.add(clip)
                clips.rows.append(clip)
    return clips


def _clip(row: Sequence[str], where: str) -> Clip:
    label, youtube_id, start, end, split = row
    if split not in SPLIT_NAMES:
        raise ValueError(f"{where}: split {split!r} is not one of {', '.join(SPLIT_NAMES)}")
    try:
        return Clip(label, youtube_id, int(float(start)), int(float(end)), SPLIT_NAMES[split])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where}: times {start!r} and {end!r} are not seconds") from error


def clips_listing(
    spec: DatasetSpec, clips: Clips, classes: pd.DataFrame | None, files: ListFiles
) -> Listing:
    """The clips with the paths of their files; without classes, those that occur by name.

    Raises:
        ValueError: a label is not among the classes.
    """
    if classes is None:
        classes = class_table(alphabetical_ids(clip.label for clip in clips.rows))
    ids = dict(zip(classes["name"], classes["class_id"], strict=True))
    times_listed = Counter(clip.youtube_id for clip in clips.rows)
    found = VideoFiles(spec.videos)
    videos = []
    for clip in clips.rows:
        if clip.label not in ids:
            raise ValueError(
                f"{spec.labels}: class {clip.label!r} is not in class list {spec.classes}"
            )
        names = [clip.name] + [clip.youtube_id] * (times_listed[clip.youtube_id] == 1)
        path = found.find(*names) or f"{clip.name}.mp4"
        videos.append(ListedVideo(path, clip.split, (int(ids[clip.label]),)))
    splits = {(clip.youtube_id, clip.split) for clip in clips.rows}
    counts = {
        "without a label": clips.num_unlabelled,
        "listed again": clips.num_repeated,
        "CSV files with other columns": clips.num_other_files,
        **found.counts,
        "YouTube videos in several splits": len(splits) - len(times_listed),
    }
    return Listing(classes, videos, files.hashes, counts, files.forms)
