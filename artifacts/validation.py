"""Checks a table against the schema of its kind; the error names column, row and value."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.schema import Column, Schema


def check(table: pa.Table, schema: Schema) -> None:
    """Accept `table` or say what is wrong with it.

    Raises:
        ValueError: wrong columns, type, null, value out of its range, or a repeated key.
    """
    if table.column_names != schema.column_names:
        raise ValueError(
            f"{schema.kind}: columns are {table.column_names}, expected {schema.column_names}"
        )
    for column in schema.columns:
        _check_column(schema.kind, column, table.field(column.name), table[column.name])
    check_unique(table, schema)


def check_unique(table: pa.Table, schema: Schema) -> None:
    """Check the key columns of a schema; other columns may be missing.

    Raises:
        ValueError: a key occurs twice.
    """
    for names in schema.unique:
        _check_unique(schema.kind, names, table)


def _check_column(kind: str, column: Column, field: pa.Field, values: pa.ChunkedArray) -> None:
    if column.is_tensor:
        if not pa.types.is_fixed_size_binary(field.type) or b"shape" not in (field.metadata or {}):
            raise ValueError(
                f"{kind}.{column.name}: type {field.type} is not a tensor column; "
                "build it with artifacts.tensors.tensor_column"
            )
    elif values.type != column.type:
        raise ValueError(f"{kind}.{column.name}: type {values.type}, expected {column.type}")
    if not column.nullable:
        _fail_where(kind, column.name, values, pc.is_null(values), "must not be null")
    if column.allowed:
        wrong = pc.invert(pc.is_in(values, pa.array(column.allowed)))
        wrong = pc.and_(wrong, pc.is_valid(values))
        _fail_where(kind, column.name, values, wrong, f"must be one of {list(column.allowed)}")
    if pa.types.is_floating(column.type):
        wrong = pc.invert(pc.is_finite(values))
        _fail_where(kind, column.name, values, wrong, "must be finite")
    if column.minimum is not None:
        wrong = pc.less(values, column.minimum)
        _fail_where(kind, column.name, values, wrong, f"must be at least {column.minimum:g}")
    if column.maximum is not None:
        wrong = pc.greater(values, column.maximum)
        _fail_where(kind, column.name, values, wrong, f"must be at most {column.maximum:g}")


def _fail_where(
    kind: str, name: str, values: pa.ChunkedArray, wrong: pa.ChunkedArray, rule: str
) -> None:
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        raise ValueError(f"{kind}.{name}, row {row}: value {values[row].as_py()!r} {rule}")


def _check_unique(kind: str, names: tuple[str, ...], table: pa.Table) -> None:
    keys = table.select(list(names))
    groups = keys.group_by(list(names)).aggregate([([], "count_all")])
    repeated = groups.filter(pc.greater(groups["count_all"], 1))
    if repeated.num_rows:
        value = {name: repeated[name][0].as_py() for name in names}
        count = repeated["count_all"][0].as_py()
        raise ValueError(f"{kind}: {value} occurs in {count} rows, but must be unique")
