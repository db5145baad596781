"""A directory of videos: class directories, or a CSV with a file and a label column.

* Class directories: `<videos>/<class>/*` or `<videos>/<train|val|test>/<class>/*`.
* CSV (`--labels`): a `file` column, a label column (`label`, `action` or `class`; several labels
  separated by `|`) and, optionally, a `split` column. Further columns are ignored.

Without splits every video is in `train`. Class ids follow the names' alphabetical order, or the
class list given with `--classes`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from knowledge.datasets.list_files import ListFiles
from knowledge.datasets.listing import (
    SPLITS,
    VIDEO_SUFFIXES,
    ListedVideo,
    Listing,
    alphabetical_ids,
    class_table,
)
from knowledge.datasets.spec import DatasetSpec

OPTIONS = ("labels", "classes")
LABEL_COLUMNS = ("label", "action", "class")


def read(spec: DatasetSpec) -> Listing:
    """Read the directory.

    Raises:
        ValueError: wrong columns, an unknown class or split, a class directory without videos.
    """
    files = ListFiles()
    entries = list(_from_csv(files, spec.labels) if spec.labels else _from_directories(spec.videos))
    if spec.classes:
        classes = files.classes(spec.classes)
    else:
        classes = class_table(alphabetical_ids(name for entry in entries for name in entry[2]))
    ids = dict(zip(classes["name"], classes["class_id"], strict=True))
    videos = []
    for path, split, names, where in entries:
        unknown = [name for name in names if name not in ids]
        if unknown:
            raise ValueError(f"{where}: class {unknown[0]!r} is not in class list {spec.classes}")
        videos.append(ListedVideo(path, split, tuple(sorted(int(ids[name]) for name in names))))
    return Listing(classes, videos, files.hashes)


Entry = tuple[str, str, list[str], str]
"""Path, split, class names, and where that was read."""


def _from_csv(files: ListFiles, labels: str) -> Iterable[Entry]:
    table = files.table(labels, "label file")
    column = next((name for name in LABEL_COLUMNS if name in table), None)
    if "file" not in table or column is None:
        raise ValueError(
            f"label file {labels}: columns are {', '.join(table.columns)}; "
            f"need `file` and one of {', '.join(LABEL_COLUMNS)}"
        )
    splits = table["split"] if "split" in table else ["train"] * len(table)
    for row, (file, label, split) in enumerate(
        zip(table["file"], table[column], splits, strict=True), start=2
    ):
        where = f"{labels}, line {row}"
        names = sorted({name.strip() for name in label.split("|") if name.strip()})
        if not names:
            raise ValueError(f"{where}: {file!r} has no label")
        if split not in SPLITS:
            raise ValueError(f"{where}: split {split!r} is not one of {', '.join(SPLITS)}")
        yield file, split, names, where


def _from_directories(root: Path) -> Iterable[Entry]:
    tops = [path for path in sorted(root.iterdir()) if path.is_dir()]
    if tops and all(path.name in SPLITS for path in tops):
        parents = [(path.name, path) for path in tops]
    else:
        parents = [("train", root)]
    for split, parent in parents:
        for directory in sorted(path for path in parent.iterdir() if path.is_dir()):
            files = [f for f in sorted(directory.rglob("*")) if f.suffix.lower() in VIDEO_SUFFIXES]
            if not files:
                raise ValueError(
                    f"class directory {directory} holds no videos; add some or remove it"
                )
            for file in files:
                yield file.relative_to(root).as_posix(), split, [directory.name], str(directory)
