"""Files that are written whole or not at all, their SHA-256, and locks between processes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

LOCK_WAIT_S = 5.0
"""How long another process may hold a directory before a second one is refused."""
LOCK_FILE = ".lock"
"""In a locked directory. A file, since network file systems lock no directory exclusively."""
_POLL_S = 0.05


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file to write, which takes the place of `path` when all went well.

    Readers see the old content or the new, complete; a crash leaves at most a file beside it whose
    name begins with a dot.

    Args:
        path: of the file.
        durable: that it is on disk when this returns; otherwise a power cut may lose it.
    """
    temporary = _beside(path)
    try:
        yield temporary
        if durable:
            fsync(temporary)
        temporary.replace(path)
        if durable:
            fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_first(path: Path, data: bytes) -> bool:
    """Write a file durably unless there is one, also where several processes try at once.

    Returns:
        Whether it was written.
    """
    temporary = _beside(path)
    try:
        temporary.write_bytes(data)
        fsync(temporary)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)
    return True


def fsync(path: Path) -> None:
    """Wait until a file's content, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class HeldError(ValueError):
    """Another process holds a directory."""


class DirectoryLock:
    """A lock on a directory: held by one process, or by any number that share it.

    It ends with `release`, with this object, or with the process.
    """

    def __init__(
        self,
        directory: Path,
        what: str,
        *,
        shared: bool = False,
        make: bool = True,
        wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """Take the lock.

        Args:
            directory: to lock.
            what: it is for, as the error names it.
            shared: hold it beside others that share it.
            make: the directory, also when its holder has just moved it away.
            wait_s: how long another process may hold it.

        Raises:
            HeldError: another process holds it for longer.
            FileNotFoundError: there is no directory, and none is to be made.
        """
        self._descriptor: int | None = None
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            if make:
                directory.mkdir(parents=True, exist_ok=True)
            elif not directory.exists():
                raise FileNotFoundError(directory)
            self._descriptor = _open_locked(directory, shared)
            if self._descriptor is not None:
                with contextlib.suppress(FileNotFoundError):  # moved away in between
                    held = os.fstat(self._descriptor)
                    if os.path.samestat((directory / LOCK_FILE).stat(), held):
                        return
                self.release()
            time.sleep(_POLL_S)
        raise HeldError(
            f"another process is making {what}; wait for it, then run the same command again"
        )

    def release(self) -> None:
        """Let other processes have the directory."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()


def is_held(directory: Path) -> bool:
    """Whether a process holds the lock on a directory."""
    if not (directory / LOCK_FILE).exists():
        return False
    lock = _open_locked(directory, shared=False)
    if lock is None:
        return True
    os.close(lock)
    return False


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file alone, after waiting for as long as another process does."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file if nobody is in the way; the lock ends when it is closed."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_locked(directory: Path, shared: bool) -> int | None:
    """Descriptor of a directory's lock file, locked; None if somebody is in the way."""
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    if try_lock(descriptor, shared=shared):
        return descriptor
    os.close(descriptor)
    return None


def _beside(path: Path) -> Path:
    """A name for a temporary file in the same directory, which begins with a dot."""
    return path.with_name(f".{path.name.lstrip('.')}.{uuid.uuid4().hex}")
