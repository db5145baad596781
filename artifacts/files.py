"""Durable writes and locks of files."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from artifacts.provenance import Provenance

LOCK_WAIT_S = 5.0
"""How long another process may hold a draft before a second one is refused."""


LOCK_FILE = ".lock"
"""In the draft's directory. A file, since network file systems lock no directory exclusively."""


_POLL_S = 0.05


class HeldError(ValueError):
    """Another process is making the artifact."""


def is_held(directory: Path) -> bool:
    """Whether a process holds the draft in a directory."""
    if not (directory / LOCK_FILE).exists():
        return False
    lock = _try_lock(directory, shared=False)
    if lock is None:
        return True
    os.close(lock)
    return False


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take_lock(directory: Path, provenance: Provenance, shared: bool, make: bool = True) -> int:
    """Descriptor of the lock; the directory is made anew if its holder has just published it."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while time.monotonic() < deadline:
        if make:
            directory.mkdir(parents=True, exist_ok=True)
        elif not directory.exists():
            raise ValueError(f"{provenance.ref} was published by another process")
        lock = _try_lock(directory, shared)
        if lock is not None:
            try:
                if (directory / LOCK_FILE).stat().st_ino == os.fstat(lock).st_ino:
                    return lock
            except FileNotFoundError:
                pass
            os.close(lock)
        time.sleep(_POLL_S)
    raise HeldError(
        f"another process is making {provenance.ref}; wait for it, then run the same command again"
    )


def _try_lock(directory: Path, shared: bool) -> int | None:
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    try:
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
