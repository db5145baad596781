"""A class-pair table (class_id, other_id, value) as a dense matrix with its class ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True)
class ClassMatrix:
    """Values of all ordered class pairs."""

    class_ids: tuple[int, ...]
    """Ids of both axes; row i is class `class_ids[i]`."""
    values: npt.NDArray[Any]
    """(K, K); row = class_id, column = other_id."""


def to_matrix(table: pa.Table, column: str, class_ids: Sequence[int]) -> ClassMatrix:
    """Dense matrix of a column; pairs without a row are 0 (False), null values too.

    Args:
        table: columns class_id, other_id and `column`.
        column: numeric or boolean column to take.
        class_ids: ids of both axes, normally those of the `classes` artifact.

    Raises:
        ValueError: no such column or not numeric, an id that is not in `class_ids`, or a repeated
            pair or id.
    """
    needed = ("class_id", "other_id", column)
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise ValueError(f"columns {missing} are missing; the table has {table.column_names}")
    kind = table.schema.field(column).type
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise ValueError(f"column {column!r} has type {kind}; a matrix needs numbers or booleans")
    places = {class_id: place for place, class_id in enumerate(class_ids)}
    if len(places) < len(class_ids):
        raise ValueError("class_ids of the axes are not distinct")
    rows, columns = (_places(table, name, places) for name in ("class_id", "other_id"))
    size = len(places)
    if len(np.unique(rows * size + columns)) < len(rows):
        raise ValueError("a class pair occurs in more than one row")
    values = np.zeros((size, size), kind.to_pandas_dtype())
    filled = table[column].combine_chunks().fill_null(False if pa.types.is_boolean(kind) else 0)
    values[rows, columns] = filled.to_numpy(zero_copy_only=False)
    return ClassMatrix(tuple(places), values)


def _places(table: pa.Table, name: str, places: dict[int, int]) -> npt.NDArray[np.int64]:
    ids = table[name].to_pylist()
    unknown = sorted({class_id for class_id in ids if class_id not in places}, key=str)
    if unknown:
        raise ValueError(f"{name} holds {unknown[:5]}, which the axes' class_ids do not have")
    return np.array([places[class_id] for class_id in ids], np.int64)
