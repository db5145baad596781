"""Rows of any artifact, and the names of the classes it is about."""

from __future__ import annotations

from typing import Any

from artifacts.artifact import Artifact
from artifacts.kinds import schema_of


def rows(artifact: Artifact, limit: int) -> list[dict[str, Any]]:
    """The first rows by column, tensors left out."""
    columns = [c.name for c in schema_of(artifact.manifest.kind).columns if not c.is_tensor]
    found: list[dict[str, Any]] = artifact.read(columns).slice(0, limit).to_pylist()
    return found


def class_names(artifact: Artifact) -> dict[int, str]:
    """Names of the classes an artifact is about, found through its inputs; empty if unknown."""
    source = artifact.manifest.inputs.get("classes")
    if source is None:
        return {}
    table = artifact.store.get(source.ref).read(["class_id", "name"])
    return dict(zip(table["class_id"].to_pylist(), table["name"].to_pylist(), strict=True))
