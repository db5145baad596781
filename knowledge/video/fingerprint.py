"""A cheap identity of a video file, which changes with its content but not with its place."""

from __future__ import annotations

import hashlib
from pathlib import Path

_EDGE_BYTES = 64 * 1024


def file_fingerprint(path: Path) -> str | None:
    """SHA-256 (hex) of a file's size, first and last 64 KiB; None if it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            edges = file.read(_EDGE_BYTES)
            file.seek(max(size - _EDGE_BYTES, 0))
            edges += file.read(_EDGE_BYTES)
    except OSError:
        return None
    return hashlib.sha256(f"{size}:".encode() + edges).hexdigest()
