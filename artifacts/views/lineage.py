"""What an artifact was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from artifacts.artifact import Artifact
from artifacts.store import Store


@dataclass(frozen=True)
class LineageNode:
    """An artifact in the tree of all that another was made from."""

    depth: int
    """0: the artifact asked about; the node above is the last one of a smaller depth."""
    role: str | None
    """In the artifact above."""
    artifact: str
    """Its ref."""
    num_rows: int | None
    """None: it is not in the store any more, or was replaced by other content."""
    code: str | None = None
    """Hash of the code of the method that made it, where its key holds that; else None."""


def lineage(
    store: Store, artifact: Artifact, role: str | None = None, depth: int = 0
) -> Iterator[LineageNode]:
    """The artifact and everything it was made from, each followed by its own inputs."""
    manifest = artifact.manifest
    code = manifest.config.get("code", {}).get("method")
    yield LineageNode(depth, role, str(artifact.ref), manifest.num_rows, code)
    for name, source in artifact.manifest.inputs.items():
        try:
            found: Artifact | None = store.get(source.ref)
        except ValueError:
            found = None
        if found and found.manifest.content_hash != source.content_hash:
            found = None
        if found:
            yield from lineage(store, found, name, depth + 1)
        else:
            yield LineageNode(depth + 1, name, source.ref, None)
