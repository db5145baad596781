"""Something-Something v2 by its official files something-something-v2-{labels,train,...}.json.

`--labels` is the directory of labels, train, validation and (optional) test; the later names
without `something-something-v2-` do as well. Videos are named by id, anywhere below `--videos`.
An entry is `id, label, template`: the class is the template without its brackets, its id that of
the labels file. Entries without a template, as in the public test file, are counted, not listed.
Source: https://www.qualcomm.com/developer/software/something-something-v-2-dataset
"""

from __future__ import annotations

from typing import Any

from knowledge.datasets.list_files import ListFiles, labels_directory
from knowledge.datasets.listing import ListedVideo, Listing, class_table
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import VideoFiles

OPTIONS = ("labels",)
_PREFIX = "something-something-v2-"
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


def read(spec: DatasetSpec) -> Listing:
    """Read all splits.

    Raises:
        ValueError: a file is missing or malformed, or a template is unknown.
    """
    needed = ", ".join(f"{_PREFIX}{part}.json" for part in ("labels", *_SPLITS))
    directory, names = labels_directory(spec, needed)
    files = ListFiles()
    ids = _class_ids(files, f"{directory}/{_file_name('labels', names)}")
    found = VideoFiles(spec.videos)
    videos = []
    num_unlabelled = 0
    for part, split in _SPLITS.items():
        name = _file_name(part, names)
        if part == "test" and name not in names:
            continue
        path = f"{directory}/{name}"
        for video_id, template in _entries(files, path):
            if template is None:
                num_unlabelled += 1
                continue
            label = template.replace("[", "").replace("]", "")
            if label not in ids:
                raise ValueError(
                    f"{path}, id {video_id}: template {template!r} is not in the labels file"
                )
            file = found.find(video_id) or f"{video_id}.webm"
            videos.append(ListedVideo(file, split, (ids[label],)))
    counts = {"without a label": num_unlabelled, **found.counts}
    return Listing(class_table(ids), videos, files.hashes, counts)


def _file_name(part: str, names: list[str]) -> str:
    """The name that is there; the long one if neither is."""
    short = f"{part}.json"
    return short if short in names and _PREFIX + short not in names else _PREFIX + short


def _class_ids(files: ListFiles, path: str) -> dict[str, int]:
    """Ids by class name."""
    content = files.json(path)
    if not isinstance(content, dict) or not all(str(each).isdecimal() for each in content.values()):
        raise ValueError(f"{path} is not an object of class names and their ids")
    return {label: int(each) for label, each in content.items()}


def _entries(files: ListFiles, path: str) -> list[tuple[str, str | None]]:
    """(id, template or None) of each entry."""
    content: Any = files.json(path)
    if not isinstance(content, list) or not all(
        isinstance(each, dict) and "id" in each for each in content
    ):
        raise ValueError(f"{path} is not an array of objects with an id")
    return [(str(each["id"]), each.get("template") or None) for each in content]
