"""A directory of videos: class directories, or a CSV with a file and a label column.

* Class directories: `<videos>/<class>/*` or `<videos>/<train|val|test>/<class>/*`.
* CSV (`--labels`): a `file` column, a label column (`label`, `action` or `class`; several labels
  separated by `|`) and, optionally, a `split` column. Further columns are ignored. Without a header
  line the columns are these, in this order.

Without splits every video is in `train`. Class ids follow the names' alphabetical order, or the
class list given with `--classes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from knowledge.datasets.list_files import ListFiles
from knowledge.datasets.listing import (
    SPLIT_NAMES,
    SPLITS,
    ListedVideo,
    Listing,
    alphabetical_ids,
    class_table,
)
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import Walk, is_video

OPTIONS = ("labels", "classes")
LABEL_COLUMNS = ("label", "action", "class")


def read(spec: DatasetSpec) -> Listing:
    """Read the directory.

    Raises:
        ValueError: wrong columns, an unknown class or split, a class directory without videos.
    """
    files = ListFiles()
    walk = Walk()
    if spec.labels:
        entries = list(_from_csv(files, spec.labels))
    else:
        entries = list(_from_directories(spec.videos, walk))
    labels = {name for entry in entries for name in entry[2]}
    are_numbers = bool(spec.labels and labels) and all(name.isdecimal() for name in labels)
    if spec.classes:
        classes = files.classes(spec.classes)
    elif are_numbers:
        raise ValueError(
            f"label file {spec.labels}: its labels are numbers; give --classes (the name of a list,"
            " or a CSV file with id,name), which says what they mean"
        )
    else:
        classes = class_table(alphabetical_ids(labels))
    ids = dict(zip(classes["name"], classes["class_id"], strict=True))
    if are_numbers and not labels & set(ids):
        ids = {str(class_id): class_id for class_id in classes["class_id"]}
        files.note_form(str(spec.labels), "labels that are class ids")
    videos = []
    for path, split, names, where in entries:
        unknown = [name for name in names if name not in ids]
        if unknown:
            raise ValueError(f"{where}: class {unknown[0]!r} is not in class list {spec.classes}")
        videos.append(ListedVideo(path, split, tuple(sorted(int(ids[name]) for name in names))))
    several = "several labels in one row, joined by |" if spec.labels else ""
    return Listing(classes, videos, files.hashes, walk.left_out, files.forms, several)


Entry = tuple[str, str, list[str], str]
"""Path, split, class names, and where that was read."""


def _from_csv(files: ListFiles, labels: str) -> Iterable[Entry]:
    table = files.table(labels, "label file", ("file", "label", "split"))
    column = next((name for name in LABEL_COLUMNS if name in table), None)
    if "file" not in table or column is None:
        raise ValueError(
            f"label file {labels}: columns are {', '.join(table.columns)}; "
            f"need `file` and one of {', '.join(LABEL_COLUMNS)}"
        )
    splits = table["split"] if "split" in table else ["train"] * len(table)
    for line, file, label, named in zip(
        table.index, table["file"], table[column], splits, strict=True
    ):
        where = f"{labels}, line {line}"
        names = sorted({name.strip() for name in label.split("|") if name.strip()})
        if not names:
            raise ValueError(f"{where}: {file!r} has no label")
        split = SPLIT_NAMES.get(named.strip().lower())
        if split is None:
            raise ValueError(f"{where}: split {named!r} is not one of {', '.join(SPLITS)}")
        yield file, split, names, where


def _from_directories(root: Path, walk: Walk) -> Iterator[Entry]:
    tops = walk.folders(root)
    named = [path for path in tops if path.name.lower() in SPLIT_NAMES]
    if not named:
        yield from _classes(root, root, "train", tops, walk)
    elif named == tops:
        for top in tops:
            split = SPLIT_NAMES[top.name.lower()]
            yield from _classes(root, top, split, walk.folders(top), walk)
    else:
        others = next(path.name for path in tops if path not in named)
        for path in named:
            if not any(is_video(each.name) for each in path.iterdir()):
                raise ValueError(
                    f"{root} holds {path.name!r}, which is like a split, beside {others!r}, which "
                    "is like a class; move away what is neither, or give --labels CSV (file,label,"
                    "split)"
                )
        yield from _classes(root, root, "train", tops, walk)


def _classes(
    root: Path, parent: Path, split: str, directories: list[Path], walk: Walk
) -> Iterator[Entry]:
    """The videos of the class directories of one split."""
    below_splits = True
    for directory in directories:
        found = sorted(walk.videos(directory, root, parent), key=lambda each: Path(each.path))
        if not found:
            inside = Walk()
            assert not [*inside.videos(directory, root, parent)]
            there = ", ".join(inside.left_out)
            raise ValueError(
                f"class directory {directory} holds no videos{there and f' but {there}'}; add some "
                "or remove it"
            )
        where = str(directory)
        for each in found:
            first, below, _ = each.path.partition("/")
            below_splits &= bool(below) and first.lower() in SPLIT_NAMES
            path = (directory / each.path).relative_to(root).as_posix()
            yield path, split, [directory.name], where
    if below_splits and directories:
        raise ValueError(
            f"the class directories of {parent} hold splits, such as {directory.name}/{first}; "
            f"make it {first}/{directory.name}, or give --labels CSV (file,label,split)"
        )
