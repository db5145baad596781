"""The SQLite file of a ledger: opening it in every version, writing it, holding it alone.

A local file (write-ahead log, fsync on every commit).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from artifacts.files import try_lock
from knowledge.llm.ledger.group_commit import GroupCommit, Step, Write
from knowledge.llm.messages import Stopped

_LOG = logging.getLogger(__name__)
_VERSION = 3
_BUSY_TIMEOUT_S = 60.0
_POLL_S = 0.05
HELD_WAIT_S = 10.0
"""How long another may hold a ledger before a second one is refused."""
Result = TypeVar("Result")
_REQUESTS = """
CREATE TABLE IF NOT EXISTS requests (
    request_key TEXT NOT NULL PRIMARY KEY,
    request TEXT NOT NULL
)
"""
_ATTEMPTS = """
CREATE TABLE IF NOT EXISTS attempts (
    request_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    question TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    status TEXT NOT NULL,
    reply TEXT,
    finish_reason TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    error TEXT,
    sent_at TEXT NOT NULL,
    duration_s REAL,
    charged_tokens INTEGER NOT NULL DEFAULT 0,
    charged_usd REAL,
    batch_key TEXT,
    PRIMARY KEY (request_key, attempt)
) WITHOUT ROWID
"""
_DIALECTS = """
CREATE TABLE IF NOT EXISTS dialects (
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    dialect TEXT NOT NULL,
    settled_at TEXT NOT NULL,
    PRIMARY KEY (endpoint, model)
) WITHOUT ROWID
"""
_BATCHES = """
CREATE TABLE IF NOT EXISTS batches (
    batch_key TEXT NOT NULL PRIMARY KEY,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    file_id TEXT,
    batch_id TEXT,
    created_at TEXT NOT NULL
) WITHOUT ROWID
"""
_MAKE_WRITABLE = (
    "make it and its directory writable (another path would pay for everything again and forget "
    "the cap)"
)
_TABLES_AND_COLUMNS = """
SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name)
AS columns WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%'
"""
_TABLES: dict[int, set[str]] = {
    0: set(),
    1: {"attempts"},
    2: {"attempts", "dialects", "batches"},
    3: {"attempts", "dialects", "batches", "requests"},
}
"""Of a file of each version; 0 is one that was never used."""
_FROM_VERSION_1 = (
    "ALTER TABLE attempts ADD COLUMN charged_tokens INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN charged_usd REAL",
    "ALTER TABLE attempts ADD COLUMN batch_key TEXT",
    "UPDATE attempts SET charged_tokens = coalesce(prompt_tokens, 0) + "
    "coalesce(completion_tokens, 0)",
)
_FROM_VERSION_2 = (
    _REQUESTS,
    "INSERT OR IGNORE INTO requests SELECT request_key, request FROM attempts",
    "ALTER TABLE attempts DROP COLUMN request",
)


class LedgerFile:
    """A ledger's file, or memory in its place; for many threads, one file for many processes."""

    def __init__(
        self, path: Path | None, *, read_only: bool = False, held_wait_s: float = HELD_WAIT_S
    ) -> None:
        """Open or create it.

        Args:
            path: file on a local disk; None keeps it in memory, for replies that cost nothing.
            read_only: leave the file alone, which has to exist, and work on a copy in memory.
            held_wait_s: see `Ledger`.

        Raises:
            ValueError: the file is no ledger, of another version, or cannot be opened.
        """
        self._path = path
        self._held_wait_s = held_wait_s
        try:
            if path and not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(
                path if path and not read_only else ":memory:",
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=1024,
            )
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        try:
            if path and read_only:
                self._copy(path)
            self._prepare()
        except BaseException:
            self.connection.close()
            raise
        self.commits = GroupCommit(self.connection)

    def close(self) -> None:
        """Close the file; everything in it is durable already."""
        with self.commits.lock:
            self.connection.close()

    @contextmanager
    def exclusive(self, purpose: str = "uses it") -> Iterator[None]:
        """Hold this ledger's file for asking, alone of all processes.

        Whoever comes second waits a little and then finds the answers instead of paying for them
        again. The lock is a file beside the ledger; the system releases it when its holder dies.

        Args:
            purpose: what is done meanwhile, for those who wait.

        Raises:
            Stopped: someone else holds it for longer.
            ValueError: the lock file cannot be written.
        """
        if self._path is None:
            yield
            return
        try:
            file = self._path.with_name(f"{self._path.name}.lock").open("a+")
        except OSError as error:
            raise self._unusable(error) from error
        with file:
            if not try_lock(file.fileno()):
                _LOG.warning("ledger %s: another extraction uses it; waiting", self._path)
                deadline = time.monotonic() + self._held_wait_s
                while not try_lock(file.fileno()):
                    if time.monotonic() > deadline:
                        file.seek(0)
                        holder = file.read().strip() or "another process uses it"
                        raise Stopped(
                            f"ledger {self._path}: {holder}; wait for it, or stop it with Ctrl-C, "
                            "then run the same command again"
                        )
                    time.sleep(_POLL_S)
            file.truncate(0)
            file.write(f"process {os.getpid()} {purpose}")
            file.flush()
            yield

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Raises:
            ValueError: it failed.
        """
        try:
            return self.commits.read(statement, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def write(self, *steps: Step) -> tuple[Any, ...]:
        """Run steps and wait until they are on disk; what RETURNING said of the last.

        Raises:
            ValueError: nothing was written.
        """
        try:
            return self.commits.write(*steps)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def write_together(self, writes: Sequence[Write]) -> None:
        """Run writes, all or none, and wait until they are on disk.

        Raises:
            ValueError: nothing was written.
        """
        try:
            self.commits.write_together(writes)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> ValueError:
        return ValueError(
            f"ledger {self._path}: {error}; every reply it took before is safe, make it "
            "writable and run the same command again"
        )

    def _unusable(self, error: BaseException) -> ValueError:
        remedy = "give another path"
        if "locked" in str(error):
            remedy = "wait for whoever uses it"
        elif (
            self._path
            and self._path.is_file()
            and isinstance(error, (OSError, sqlite3.OperationalError))
        ):
            remedy = _MAKE_WRITABLE
        return ValueError(f"ledger {self._path}: {error}; {remedy}")

    def _copy(self, path: Path) -> None:
        """Copy a file to memory; without a journal beside it none is made, as SQLite would."""
        has_journal = path.with_name(f"{path.name}-wal").exists()
        uri = f"{path.absolute().as_uri()}?mode=ro{'' if has_journal else '&immutable=1'}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)) as source:
                source.backup(self.connection)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _while_locked(self, operation: Callable[[], Result]) -> Result:
        """Try again; SQLite does not wait by itself for another who is switching the journal."""
        deadline = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                return operation()
            except sqlite3.OperationalError as error:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _version(self) -> int:
        """Version of the file.

        Raises:
            ValueError: it is no ledger, or one of another version.
        """
        self.connection.execute("BEGIN")
        version: int = self.connection.execute("PRAGMA user_version").fetchone()[0]
        found = set(self.connection.execute(_TABLES_AND_COLUMNS))
        self.connection.execute("COMMIT")
        tables = {table for table, _ in found}
        if version > _VERSION and {("attempts", "request_key")} <= found:
            raise ValueError(
                f"ledger {self._path} has version {version}, this program writes {_VERSION}; "
                "update the program, because another ledger would pay for everything again"
            )
        is_ours = version == 0 or {("attempts", "request_key"), ("attempts", "attempt")} <= found
        if not is_ours or _TABLES.get(version) != tables:
            raise ValueError(
                f"ledger {self._path} is a database of something else (version {version}, tables: "
                f"{', '.join(sorted(tables)) or 'none'}); give another path"
            )
        return version

    def _prepare(self) -> None:
        try:
            self.connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_S * 1000)}")
            self._while_locked(self._version)  # before anything is changed
            self._while_locked(lambda: self.connection.execute("PRAGMA journal_mode = WAL"))
            self.connection.execute("PRAGMA synchronous = FULL")
            self.connection.execute("BEGIN IMMEDIATE")
            version = self.connection.execute("PRAGMA user_version").fetchone()[0]
            for statement in (
                *(_FROM_VERSION_1 if version == 1 else ()),
                *(_FROM_VERSION_2 if version in (1, 2) else ()),
                *(_REQUESTS, _ATTEMPTS, _DIALECTS, _BATCHES),
            ):
                self.connection.execute(statement)
            self.connection.execute(f"PRAGMA user_version = {_VERSION}")
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._unusable(error) from error
