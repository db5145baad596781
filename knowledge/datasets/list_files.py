"""Reading the list files that come with a dataset, and their hashes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pandas as pd
from fsspec.implementations.local import LocalFileSystem

from knowledge.datasets.class_lists import class_list
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import is_video

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


class ListFiles:
    """Reads files by path or fsspec URL and remembers the SHA-256 of each."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.hashes: dict[str, str] = {}
        """SHA-256 (hex) by file name; directories are no part of it."""
        self.forms: dict[str, str] = {}
        """How a file was read that could have had another form, by file name."""
        self._names: dict[str, str] = {}

    def text(self, path: str, what: str = "list file") -> str:
        """The whole file.

        Raises:
            ValueError: it does not exist or is not UTF-8 text.
        """
        try:
            fs, place = file_system(path)
            with fs.open(place, "rb") as file:
                data: bytes = file.read()
        except FileNotFoundError as error:
            raise ValueError(f"{what} {path} does not exist") from error
        self._remember(path, hashlib.sha256(data).hexdigest())
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{what} {path} is not UTF-8 text: {error}") from error

    def lines(self, path: str, what: str = "list file") -> Iterator[tuple[str, str]]:
        """(place, line) of each line that is not blank, without outer spaces.

        Raises:
            ValueError: as for `text`.
        """
        for number, line in enumerate(self.text(path, what).splitlines(), start=1):
            if line.strip():
                yield f"{path}, line {number}", line.strip()

    def table(
        self, path: str, what: str = "list file", headless: Sequence[str] = ()
    ) -> pd.DataFrame:
        """A CSV file as text columns, indexed by the number of each line.

        Semicolons or tabs separate fields where the first line has more of them than commas. Blanks
        after a separator and around a column's name do not count.

        Args:
            path: of the file.
            what: it is, for messages.
            headless: names of the columns if the first line begins with a video instead of naming
                them.

        Raises:
            ValueError: as for `text`, it is no CSV file, a line has more or fewer fields than the
                header, or two columns have one name.
        """
        text = self.text(path, what)
        first = next((line for line in text.splitlines() if line.strip()), "")
        separator = max(_SEPARATORS, key=first.count)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
        )
        rows, line = dict[int, list[str]](), 1
        try:
            for fields in reader:
                if "".join(fields).strip() or len(fields) > 1:
                    rows[line] = fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{what} {path} is not a CSV file: line {line}: {error}") from error
        if not rows:
            raise ValueError(f"{what} {path} is not a CSV file: it is empty")
        start, given = next(iter(rows.items()))
        has_header = not (headless and is_video(given[0]))
        names = [name.strip() for name in rows.pop(start)] if has_header else list(headless)
        names = names[: len(given)]
        if not has_header or separator != ",":
            form = f"columns {', '.join(names)}, separated by {_SEPARATORS[separator]}"
            self.note_form(path, form + ("" if has_header else ", without a header line"))
        if repeated := [name for name, count in Counter(names).items() if name and count > 1]:
            raise ValueError(f"{what} {path}: column {repeated[0]!r} occurs twice; rename one")
        for line, fields in rows.items():
            if len(fields) != len(names):
                raise ValueError(
                    f"{what} {path}, line {line} has {_fields(fields)}, the header {len(names)}; "
                    f"put text that holds a {_SEPARATORS[separator][:-1]} in double quotes"
                )
        return pd.DataFrame(list(rows.values()), index=list(rows), columns=names, dtype=object)

    def json(self, path: str, what: str = "list file") -> Any:
        """Content of a JSON file.

        Raises:
            ValueError: as for `text`, or it is not JSON.
        """
        text = self.text(path, what)
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{what} {path} is not JSON: {error}") from error

    def classes(self, source: str) -> pd.DataFrame:
        """The class list of a known name or a CSV file: columns class_id, name, group.

        Raises:
            ValueError: neither a known name nor a CSV file with id and name columns.
        """
        if not source.endswith(".csv"):
            return class_list(source)
        table = self.table(source, "class list")
        if not {"id", "name"} <= set(table.columns):
            raise ValueError(
                f"class list {source}: columns are {list(table.columns)}, need id,name"
            )
        bad = table[~table["id"].str.fullmatch(r"\d+")]
        if len(bad):
            raise ValueError(f"class list {source}, line {bad.index[0]}: id {bad['id'].iloc[0]!r}")
        group = table.get("group", "all")
        listed = {"class_id": table["id"].astype(int), "name": table["name"], "group": group}
        return pd.DataFrame(listed).reset_index(drop=True)

    def note_form(self, path: str, form: str) -> None:
        """Remember how a file that was read before is understood."""
        name = self._names[path]
        self.forms[name] = f"{self.forms[name]}; {form}" if name in self.forms else form

    def _remember(self, path: str, digest: str) -> None:
        """Two files of one name and other content get a number."""
        name = PurePosixPath(path).name
        names = [name, *(f"{name} ({number})" for number in range(2, len(self.hashes) + 2))]
        free = next(each for each in names if self.hashes.get(each, digest) == digest)
        self.hashes[free] = digest
        self._names[path] = free


def _fields(fields: Sequence[str]) -> str:
    return f"{len(fields)} field{'s' * (len(fields) != 1)}"


def labels_directory(spec: DatasetSpec, what: str) -> tuple[str, list[str]]:
    """The directory given with `--labels`, and the names of its files in order, no hidden ones.

    Args:
        spec: the dataset.
        what: files that the directory must hold, for messages.

    Raises:
        ValueError: it is not given, or no directory.
    """
    if not spec.labels:
        raise ValueError(f"dataset {spec.dataset!r} needs --labels DIR, the directory of {what}")
    directory = spec.labels.rstrip("/")
    fs, path = file_system(directory)
    if not fs.isdir(path):
        raise ValueError(f"--labels {directory} is no directory; give that of {what}")
    names = [PurePosixPath(each).name for each in fs.ls(path, detail=False)]
    return directory, sorted(name for name in names if not name.startswith("."))


def read_table(path: str, what: str) -> pd.DataFrame:
    """A CSV file as text columns.

    Raises:
        ValueError: it does not exist or is no CSV file.
    """
    return ListFiles().table(path, what)


def file_system(path: str) -> tuple[Any, str]:
    """File system and place of a URL (with `://`) or of a path, whatever letters it has."""
    if "://" in path:
        fs, place = fsspec.core.url_to_fs(path)
        return fs, place
    return LocalFileSystem(), Path(path).expanduser().absolute().as_posix()
