"""UCF101 by its official lists: classInd.txt, trainlist0N.txt, testlist0N.txt.

`--labels` is their directory, `--split-number` the N; the videos are `<videos>/<class>/v_*.avi`.
Class ids are those of classInd.txt minus one.
Source: https://www.crcv.ucf.edu/data/UCF101.php, "UCF101TrainTestSplits-RecognitionTask".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from knowledge.datasets.clip_groups import check_groups
from knowledge.datasets.list_files import ListFiles, labels_directory
from knowledge.datasets.list_lines import path_and_numbers
from knowledge.datasets.listing import ListedVideo, Listing, class_table
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import is_video

OPTIONS = ("labels", "split_number")
_GROUP = re.compile(r"(g\d+)_c\d+\.\w+$")


def read(spec: DatasetSpec) -> Listing:
    """Read one split.

    Raises:
        ValueError: a list is missing or malformed, or a group is in train and test.
    """
    directory, _ = labels_directory(spec, "classInd.txt, trainlist0N.txt and testlist0N.txt")
    files = ListFiles()
    ids = _class_ids(files, f"{directory}/classInd.txt")
    videos: list[ListedVideo] = []
    groups: list[tuple[str, str, str]] = []
    for split in ("train", "test"):
        path = f"{directory}/{split}list0{spec.official_split}.txt"
        for where, video in _read_list(files, path, split, ids):
            videos.append(video)
            if group := _GROUP.search(video.path):
                groups.append((f"{video.path.split('/')[0]} {group[1]}", split, where))
    check_groups(groups)
    return Listing(class_table(ids), videos, files.hashes)


def _class_ids(files: ListFiles, path: str) -> dict[str, int]:
    """Ids from 0 by class name."""
    ids: dict[str, int] = {}
    for where, line in files.lines(path):
        number, *name = line.split(None, 1)
        if not (name and number.isdecimal() and int(number)):
            raise ValueError(f"{where}: {line!r} is not a number from 1 and a class name")
        ids[name[0]] = int(number) - 1
    return ids


def _read_list(
    files: ListFiles, list_path: str, split: str, ids: dict[str, int]
) -> Iterator[tuple[str, ListedVideo]]:
    """(where, video) of each line `class/file [id]`."""
    for where, line in files.lines(list_path):
        path, numbers = path_and_numbers(line)
        if len(numbers) > 1 or "," in path:
            raise ValueError(f"{where}: {line!r} is not `class/file` or `class/file id`")
        label = numbers[0] if numbers else None
        path = path if is_video(path) else f"{path}.avi"
        folder = path.partition("/")[0]
        if folder not in ids:
            raise ValueError(f"{where}: class {folder!r} is not in classInd.txt")
        if label not in (None, ids[folder] + 1):
            raise ValueError(
                f"{where}: {path!r} has id {label}, in classInd.txt {folder} has {ids[folder] + 1}"
            )
        yield where, ListedVideo(path, split, (ids[folder],))
