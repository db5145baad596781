"""HMDB51 by its official lists: one file `<class>_test_splitN.txt` for each class and split.

`--labels` is their directory, `--split-number` the N; the videos are `<videos>/<class>/*.avi`.
A line is `file flag` with flag 1 for train, 2 for test and 0 for clips that this split leaves out.
Class ids follow the alphabetical order of the class names.
Source: https://serre.lab.brown.edu/hmdb51.html, "test_train_splits".
"""

from __future__ import annotations

import re

from knowledge.datasets.clip_groups import check_groups
from knowledge.datasets.list_files import ListFiles, labels_directory
from knowledge.datasets.list_lines import path_and_numbers
from knowledge.datasets.listing import ListedVideo, Listing, alphabetical_ids, class_table
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import is_video

OPTIONS = ("labels", "split_number")
_LIST = re.compile(r"(.+)_test_split[123]\.txt")
_CLIP = re.compile(r"(.+)_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+\.\w+")
"""Source video and class, then the clip: visible part, camera, people, view, quality, number."""
_SPLITS = {"1": "train", "2": "test", "0": None}


def read(spec: DatasetSpec) -> Listing:
    """Read one split.

    Raises:
        ValueError: a list is missing or malformed, or clips of one video are in train and test.
    """
    directory, listed = labels_directory(spec, "the files <class>_test_splitN.txt")
    ids = alphabetical_ids(match[1] for each in listed if (match := _LIST.fullmatch(each)))
    if not ids:
        raise ValueError(f"--labels {directory} holds no files <class>_test_splitN.txt")
    files = ListFiles()
    videos: list[ListedVideo] = []
    groups: list[tuple[str, str, str]] = []
    num_unused = 0
    for name, class_id in ids.items():
        for where, line in files.lines(f"{directory}/{name}_test_split{spec.official_split}.txt"):
            *file, flag = line.rsplit(None, 1)
            if flag not in _SPLITS or not file:
                raise ValueError(f"{where}: {line!r} does not end in a space and 0, 1 or 2")
            if path_and_numbers(file[0])[1]:
                raise ValueError(f"{where}: {line!r} is not `file flag`, but has more columns")
            split = _SPLITS[flag]
            if split is None:
                num_unused += 1
                continue
            video = file[0] if is_video(file[0]) else f"{file[0]}.avi"
            videos.append(ListedVideo(f"{name}/{video}", split, (class_id,)))
            if source := _CLIP.fullmatch(video):
                groups.append((f"{name}: {source[1]}", split, where))
    check_groups(groups)
    return Listing(class_table(ids), videos, files.hashes, {"unused in this split": num_unused})
