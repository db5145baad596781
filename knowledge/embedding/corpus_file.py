"""Texts from a file, each once: candidates for negatives that no class list holds.

A text file has one text per line. A CSV or Parquet file has a column `text`, and may have `text_id`
and `class`, the class that the text describes.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from artifacts.files import file_sha256
from knowledge.embedding.config import SUFFIXES, is_corpus_file

_COLUMNS = ("text", "text_id", "class")


@dataclass(frozen=True)
class CorpusTexts:
    """The distinct texts of a file."""

    table: pa.Table
    """`text_id`, `text`, `class` and `class_id` (place of the class among those of the file; both
    null where the file names none), in the file's order."""
    num_rows: int
    """Rows of the file."""
    left_out: dict[str, int]
    """Rows that are not in the table, by reason."""


def corpus_name(path: Path) -> str:
    """Name of a file's artifact: that of the file, in the letters a ref may have."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", path.stem).lstrip("._+-") or "corpus"


def corpus_sha256(path: Path) -> str:
    """SHA-256 (hex) of a corpus file.

    Raises:
        ValueError: there is no such file, or its suffix is not one of `SUFFIXES`.
    """
    if not is_corpus_file(path.name):
        raise ValueError(f"corpus {path}: give a file ending in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"corpus file {path} does not exist")
    return file_sha256(path)


def read_corpus_file(path: Path) -> CorpusTexts:
    """The texts of a file without blanks around them; the first of equal ones is kept.

    A text that the file gives to several classes is left out: it is a negative of none of them.

    Raises:
        ValueError: not readable as what its suffix says, no column `text`, a text_id that is
            missing or repeated, or no text at all.
    """
    table = _read(path)
    num_rows = table.num_rows
    if "text_id" in table.column_names:
        _check_ids(path, table["text_id"])
    else:
        numbers = pa.array(range(1, num_rows + 1), pa.int64()).cast(pa.string())
        table = table.append_column("text_id", numbers)
    if "class" not in table.column_names:
        table = table.append_column("class", pa.nulls(num_rows, pa.string()))
    table = table.append_column("row", pa.array(range(num_rows), pa.int64()))
    for name in ("text", "class"):
        trimmed = pc.utf8_trim_whitespace(table[name])
        table = table.set_column(table.schema.get_field_index(name), name, trimmed)
    given = table.filter(pc.fill_null(pc.greater(pc.utf8_length(table["text"]), 0), False))
    groups = given.group_by("text").aggregate(
        [("row", "min"), ("row", "count"), ("class", "count_distinct"), ("class", "max")]
    )
    groups = groups.sort_by("row_min")
    shared = pc.greater(groups["class_count_distinct"], 1)
    kept = groups.filter(pc.invert(shared))
    if not kept.num_rows:
        raise ValueError(f"corpus file {path} holds no text that could be a negative")
    left_out = {
        "empty": num_rows - given.num_rows,
        "repeated": (pc.sum(kept["row_count"]).as_py() or 0) - kept.num_rows,
        "several classes": pc.sum(groups.filter(shared)["row_count"]).as_py() or 0,
    }
    texts = pa.table(
        {
            "text_id": table["text_id"].take(kept["row_min"]),
            "text": kept["text"],
            "class": kept["class_max"],
            "class_id": pc.index_in(kept["class_max"], _distinct(kept["class_max"])),
        }
    )
    return CorpusTexts(texts, num_rows, {why: count for why, count in left_out.items() if count})


def _read(path: Path) -> pa.Table:
    """The known columns of a file as strings."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".txt":
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            return pa.table({"text": pa.array(lines, pa.string())})
        if suffix == ".csv":
            table = _read_csv(path)
        else:
            there = pq.read_schema(path).names
            table = pq.read_table(path, columns=[name for name in _COLUMNS if name in there])
    except (pa.ArrowException, csv.Error, OSError, UnicodeDecodeError) as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"corpus file {path} cannot be read: {problem}") from error
    if "text" not in table.column_names:
        raise ValueError(f"corpus file {path} has no column `text`; rename the one that holds them")
    names = [name for name in _COLUMNS if name in table.column_names]
    if repeated := [name for name in names if table.column_names.count(name) > 1]:
        raise ValueError(f"corpus file {path}: column {repeated[0]!r} occurs twice; rename one")
    table = table.select(names)
    return table.cast(pa.schema([pa.field(name, pa.string()) for name in table.column_names]))


def _read_csv(path: Path) -> pa.Table:
    """All columns as strings; blanks after commas do not count if the header has them, too."""
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next((row for row in csv.reader(file) if row), [])
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
    )
    alone = pa_csv.ReadOptions(use_threads=False)  # which knows the number of a wrong row
    table = pa_csv.read_csv(path, alone, parse, convert)
    own = [name.strip() for name in names]
    if table.column_names != own:
        trimmed = [pc.utf8_trim_whitespace(column) for column in table.columns]
        table = pa.table(trimmed, own)
    return table


def _distinct(values: pa.ChunkedArray) -> pa.Array:
    return pc.drop_null(pc.unique(values))


def _check_ids(path: Path, ids: pa.ChunkedArray) -> None:
    if ids.null_count:
        row = pc.index(pc.is_null(ids), True).as_py()
        raise ValueError(f"corpus file {path}: row {row + 1} has no text_id")
    counts = pc.value_counts(ids)
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        value = repeated[0]["values"].as_py()
        raise ValueError(f"corpus file {path}: text_id {value!r} occurs in several rows")
