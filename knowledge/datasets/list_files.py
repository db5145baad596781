"""Reading the list files that come with a dataset, and their hashes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import fsspec
import pandas as pd

from knowledge.datasets.class_lists import class_list
from knowledge.datasets.spec import DatasetSpec


class ListFiles:
    """Reads files by path or fsspec URL and remembers the SHA-256 of each."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self.hashes: dict[str, str] = {}
        """SHA-256 (hex) by file name; directories are no part of it."""

    def text(self, path: str, what: str = "list file") -> str:
        """The whole file.

        Raises:
            ValueError: it does not exist or is not UTF-8 text.
        """
        try:
            with fsspec.open(path, "rb") as file:
                data: bytes = file.read()
        except FileNotFoundError as error:
            raise ValueError(f"{what} {path} does not exist") from error
        self._remember(PurePosixPath(path).name, hashlib.sha256(data).hexdigest())
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

    def table(self, path: str, what: str = "list file") -> pd.DataFrame:
        """A CSV file as text columns.

        Raises:
            ValueError: as for `text`, or it is no CSV file.
        """
        text = self.text(path, what)
        try:
            table: pd.DataFrame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{what} {path} is not a CSV file: {reason}") from error
        return table

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
            raise ValueError(
                f"class list {source}, row {bad.index[0] + 2}: id {bad['id'].iloc[0]!r}"
            )
        group = table.get("group", "all")
        return pd.DataFrame(
            {"class_id": table["id"].astype(int), "name": table["name"], "group": group}
        )

    def _remember(self, name: str, digest: str) -> None:
        """Two files of one name and other content get a number."""
        names = [name, *(f"{name} ({number})" for number in range(2, len(self.hashes) + 2))]
        free = next(each for each in names if self.hashes.get(each, digest) == digest)
        self.hashes[free] = digest


def labels_directory(spec: DatasetSpec, what: str) -> tuple[str, list[str]]:
    """The directory given with `--labels`, and the names of its files in order.

    Args:
        spec: the dataset.
        what: files that the directory must hold, for messages.

    Raises:
        ValueError: it is not given, or no directory.
    """
    if not spec.labels:
        raise ValueError(f"dataset {spec.dataset!r} needs --labels DIR, the directory of {what}")
    directory = spec.labels.rstrip("/")
    fs, path = fsspec.core.url_to_fs(directory)
    if not fs.isdir(path):
        raise ValueError(f"--labels {directory} is no directory; give that of {what}")
    return directory, sorted(PurePosixPath(each).name for each in fs.ls(path, detail=False))


def read_table(path: str, what: str) -> pd.DataFrame:
    """A CSV file as text columns.

    Raises:
        ValueError: it does not exist or is no CSV file.
    """
    return ListFiles().table(path, what)
