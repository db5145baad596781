"""What a schema says: columns with types, units and rules, keys, files beside the table."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

EMBEDDING = pa.binary(1)
"""Placeholder type of a tensor column: fixed_size_binary of any width, see `artifacts.tensors`."""


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type, meaning, unit and the values it may hold."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = False
    unit: str = ""
    allowed: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def is_tensor(self) -> bool:
        """Whether it holds arrays of one dtype and shape (given in the field's metadata)."""
        return self.type is EMBEDDING


@dataclass(frozen=True)
class Schema:
    """What an artifact kind stores."""

    kind: str
    version: int
    row: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...]
    """Column combinations that identify a row."""
    command: str
    """Command that makes such artifacts."""
    files: tuple[str, ...] = ()
    """Names of the files an artifact of this kind holds beside its Parquet parts."""

    @property
    def column_names(self) -> list[str]:
        """Column names in storage order."""
        return [column.name for column in self.columns]

    def arrow(self) -> pa.Schema:
        """The Arrow schema, for kinds without tensor columns (their width differs per artifact).

        Raises:
            ValueError: the kind has a tensor column.
        """
        tensors = [column.name for column in self.columns if column.is_tensor]
        if tensors:
            raise ValueError(f"{self.kind}: the width of {tensors} is known only with the data")
        return pa.schema([pa.field(c.name, c.type, c.nullable) for c in self.columns])
