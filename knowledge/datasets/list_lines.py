"""Lines of a path and label ids, in the forms that published lists have.

`path label [label ...]` or `path num_frames label [label ...]` (TSN, TSM, mmaction), separated by
spaces, tabs or commas, with or without a header line that names the columns. Which form a file has
is told from all of its lines; what cannot be told is refused, and a header line decides it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from dataclasses import dataclass

from knowledge.datasets.list_files import ListFiles

_PATHS = {"path", "file", "filename", "file_name", "file_path", "name", "video", "video_id"}
_PATHS |= {"video_name", "video_path"}
_FRAMES = {"num_frames", "frames", "n_frames", "nframes", "frame_count", "total_frames"}
_FRAMES |= {"number_of_frames", "num_frame"}
_LABELS = {"label", "labels", "label_id", "class", "class_id", "class_index", "class_idx", "target"}
_NUMBER_LEFT = re.compile(r"[\s,;|]\d+$")
_REMEDY = "make the first line `path label` or `path num_frames label`, which says what they are"
_SEPARATORS = {"\t": "tabs", ",": "commas", "": "spaces"}


@dataclass(frozen=True)
class Line:
    """A line of a list."""

    where: str
    path: str
    numbers: tuple[int, ...]
    """What follows the path."""


def read_label_lines(files: ListFiles, path: str, known: Collection[int]) -> list[Line]:
    """The lines of a list file, whose numbers are label ids; the form is noted in `files.forms`.

    Args:
        files: reads it.
        path: of the list.
        known: the ids that there are, which tell labels from numbers of frames.

    Raises:
        ValueError: no such file, a line without label id, or numbers that may be either.
    """
    rows = list(files.lines(path))
    names = _header(rows[0][1]) if rows else []
    lines, separator = _split(rows[bool(names) :])
    for line in lines:
        if not line.numbers:
            raise ValueError(f"{line.where}: {line.path!r} does not end in a label id")
        if not names and _NUMBER_LEFT.search(line.path):
            raise ValueError(
                f"{line.where}: {line.path!r} may end in a label; separate all columns alike, and "
                f"if that is the name of a video, {_REMEDY}"
            )
    if names:
        has_frames = _names_frames(names, rows[0][0])
    else:
        has_frames = _looks_like_frames(lines, known, path)
    form = f"path{' num_frames' * has_frames} label, separated by {_SEPARATORS[separator]}"
    files.note_form(path, form + (", with a header line" if names else ""))
    if not has_frames:
        return lines
    for line in lines:
        if len(line.numbers) < 2:
            raise ValueError(f"{line.where}: no label follows the number of frames")
    return [Line(line.where, line.path, line.numbers[1:]) for line in lines]


def path_and_numbers(line: str, separator: str = "") -> tuple[str, tuple[int, ...]]:
    """What a line begins with, and the whole numbers at its end.

    Args:
        line: without outer blanks.
        separator: a tab or comma; blanks when empty.
    """
    fields, numbers = [line], list[int]()
    if separator:
        fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    while len(fields) > 1 and fields[-1].strip().isdecimal():
        numbers.insert(0, int(fields.pop()))
    rest = separator.join(fields).strip()
    while not separator and len(words := rest.rsplit(None, 1)) == 2 and words[1].isdecimal():
        rest = words[0]
        numbers.insert(0, int(words[1]))
    return rest, tuple(numbers)


def _header(line: str) -> list[str]:
    """Names of the columns if the line names them, in lower case."""
    names = [name.strip('"').lower() for name in re.split(r"[\s,]+", line)]
    return names if len(names) > 1 and names[0] in _PATHS and names[-1] in _LABELS else []


def _split(rows: list[tuple[str, str]]) -> tuple[list[Line], str]:
    """The lines, and the separator that all of them have; empty for blanks."""
    for separator in _SEPARATORS:
        lines = [Line(where, *path_and_numbers(text, separator)) for where, text in rows]
        if lines and all(line.numbers for line in lines):
            return lines, separator
    return lines, ""


def _names_frames(names: list[str], where: str) -> bool:
    """Whether a header names a column of frame counts before the labels."""
    has_frames = names[1] in _FRAMES
    unknown = [name for name in names[1 + has_frames :] if name not in _LABELS]
    if unknown:
        raise ValueError(
            f"{where}: column {unknown[0]!r} is not known; the columns are path, num_frames (which "
            "may be left out) and label"
        )
    return has_frames


def _looks_like_frames(lines: list[Line], known: Collection[int], path: str) -> bool:
    """Whether the first number of every line is one of frames."""
    fewest = min((len(line.numbers) for line in lines), default=1)
    if fewest == 1:
        return False
    no_label = sum(line.numbers[0] not in known for line in lines)
    if fewest == 2 and 2 * no_label >= len(lines):
        return True
    example = " ".join(map(str, lines[0].numbers))
    raise ValueError(
        f"{path}: every line has at least {fewest} numbers, such as {example!r}, of which the "
        f"first may be a label or the number of frames; {_REMEDY}"
    )
