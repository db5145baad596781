"""Rows of any artifact as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from artifacts.artifact import Artifact
from artifacts.kinds import schema_of

LONGEST_CELL = 60


def rows(artifact: Artifact, limit: int) -> list[dict[str, str]]:
    """The first rows as text, tensors left out, class ids followed by the class name if known."""
    columns = [c.name for c in schema_of(artifact.manifest.kind).columns if not c.is_tensor]
    return [as_cells(row) for row in artifact.read(columns).slice(0, limit).to_pylist()]


def class_names(artifact: Artifact) -> dict[int, str]:
    """Names of the classes an artifact is about, found through its inputs; empty if unknown."""
    source = artifact.manifest.inputs.get("classes")
    if source is None:
        return {}
    table = artifact.store.get(source.ref).read(["class_id", "name"])
    return dict(zip(table["class_id"].to_pylist(), table["name"].to_pylist(), strict=True))


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, without a final line end."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def as_cells(row: dict[str, Any]) -> dict[str, str]:
    """A row as text."""
    return {name: as_text(value) for name, value in row.items()}


def as_text(value: object) -> str:
    """A value in at most `LONGEST_CELL` characters; of a list the first four."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(as_text(each) for each in value[:4])
        return shown + (", ..." if len(value) > 4 else "")
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 3] + "..."
