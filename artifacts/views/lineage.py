"""Where an artifact comes from: its inputs, theirs, and so on."""

from __future__ import annotations

from collections.abc import Iterator

from artifacts.artifact import Artifact
from artifacts.store import Store


def lineage(
    store: Store, artifact: Artifact, role: str = "", depth: int = 0
) -> Iterator[tuple[int, str, str, Artifact | None]]:
    """The artifact and everything it was made from.

    Yields:
        Depth, role in the artifact above, ref, and the artifact (None when it is not in the store
        any more or was replaced by other content).
    """
    yield depth, role, str(artifact.ref), artifact
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
            yield depth + 1, name, source.ref, None
