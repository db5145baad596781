"""What is in a store."""

from __future__ import annotations

from dataclasses import dataclass

from artifacts.artifact import Artifact


@dataclass(frozen=True)
class ListedArtifact:
    """An artifact as a list has it."""

    artifact: str
    """Its ref."""
    num_rows: int
    created: str
    """ISO 8601 in UTC."""


def listed(artifact: Artifact) -> ListedArtifact:
    """An artifact's line in a list."""
    manifest = artifact.manifest
    return ListedArtifact(str(artifact.ref), manifest.num_rows, manifest.created)
