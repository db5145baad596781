"""A durable row per attempt, written before it is sent: nothing paid for is lost or paid twice.

A local SQLite file (write-ahead log, fsync on every commit). After `kill -9` it holds every reply
that arrived; what was being sent stays `in_flight`, which means possibly billed. Writes that arrive
together share a commit, so many workers do not wait for many fsyncs.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from artifacts.provenance import Frozen
from knowledge.llm.budget import Charge
from knowledge.llm.messages import ChatReply, Dialect, LlmError, Stopped

ANSWERED = ("ok", "no_reply", "refusal")
"""Statuses of an attempt that need no other."""

_LOG = logging.getLogger(__name__)
_VERSION = 2
_BUSY_TIMEOUT_S = 60.0
_EXCLUSIVE_WAIT_S = 10.0
_POLL_S = 0.05
Result = TypeVar("Result")
_ATTEMPTS = """
CREATE TABLE IF NOT EXISTS attempts (
    request_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    question TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    request TEXT NOT NULL,
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
_BEGIN = (
    "INSERT INTO attempts (request_key, attempt, question, endpoint, model, request, "
    "status, sent_at, charged_tokens, charged_usd, batch_key) "
    "SELECT ?, 1 + COUNT(*), ?, ?, ?, ?, ?, ?, ?, ?, ? FROM attempts "
    "WHERE request_key = ? RETURNING attempt"
)
_SETTLE_ONCE = (
    "UPDATE attempts SET status = ?, reply = ?, finish_reason = ?, prompt_tokens = ?, "
    "completion_tokens = ?, duration_s = ?, charged_tokens = ?, charged_usd = ? "
    "WHERE request_key = ? AND attempt = ? AND status = 'in_flight'"
)
_FAIL_ONCE = (
    "UPDATE attempts SET status = 'error', error = ?, reply = ?, charged_tokens = ?, "
    "charged_usd = ? WHERE request_key = ? AND attempt = ? AND status = 'in_flight'"
)
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
}
"""Of a file of each version; 0 is one that was never used."""
_FROM_VERSION_1 = (
    "ALTER TABLE attempts ADD COLUMN charged_tokens INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN charged_usd REAL",
    "ALTER TABLE attempts ADD COLUMN batch_key TEXT",
    "UPDATE attempts SET charged_tokens = coalesce(prompt_tokens, 0) + "
    "coalesce(completion_tokens, 0)",
)


class Attempt(Frozen):
    """One attempt at a request, as the ledger holds it."""

    request_key: str
    attempt: int
    """From 1."""
    question: str
    endpoint: str
    model: str
    request: str
    """Request body as canonical JSON."""
    status: str
    """in_flight, ok, no_reply, refusal or error."""
    reply: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    error: str | None
    sent_at: str
    """UTC."""
    duration_s: float | None
    charged_tokens: int
    """What it cost, or the most it can have cost while that is not known."""
    charged_usd: float | None
    """The same in US dollars; None where the price is unknown."""
    batch_key: str | None
    """Batch it was sent in, if it was."""


class BatchRow(Frozen):
    """A batch of attempts, as the ledger holds it."""

    batch_key: str
    """Ours; the endpoint keeps it with the batch."""
    endpoint: str
    model: str
    state: str
    """open, or how it ended."""
    file_id: str | None
    """Of the uploaded requests, once known."""
    batch_id: str | None
    """The endpoint's, once known."""
    created_at: str
    """UTC."""


@dataclass
class _Write:
    """A statement that waits for its commit."""

    statement: str
    values: tuple[Any, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False
    turn: threading.Event = field(default_factory=threading.Event)
    """Set when it is done, or when its thread has to commit for all that wait."""


class Ledger:
    """Attempts by request key; one object serves many threads, one file many processes."""

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open or create a ledger.

        Args:
            path: file on a local disk; None keeps it in memory, for replies that cost nothing.
            read_only: leave the file alone, which has to exist, and work on a copy in memory.

        Raises:
            ValueError: the file is no ledger, of another version, or cannot be opened.
        """
        self._path = path
        self._begun: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        """Held by whoever uses the connection."""
        self._waiting: list[_Write] = []
        self._has_committer = False
        self._waiting_lock = threading.Lock()
        """Held by whoever uses these two."""
        try:
            if path and not read_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path if path and not read_only else ":memory:",
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error
        try:
            if path and read_only:
                self._copy(path)
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; everything in it is durable already."""
        with self._lock:
            self._db.close()

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
            if not _try_lock(file.fileno()):
                _LOG.warning("ledger %s: another extraction uses it; waiting", self._path)
                deadline = time.monotonic() + _EXCLUSIVE_WAIT_S
                while not _try_lock(file.fileno()):
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

    @property
    def begun(self) -> frozenset[tuple[str, int]]:
        """Request key and number of the attempts that this object recorded."""
        return frozenset(self._begun)

    def begin(
        self,
        request_key: str,
        question: str,
        endpoint: str,
        model: str,
        request: str,
        most: Charge,
        batch_key: str | None = None,
    ) -> Attempt:
        """Record, durably, that a request is about to be sent.

        Args:
            request_key: SHA-256 of what is sent.
            question: knowledge kind that asks.
            endpoint: base URL.
            model: model asked.
            request: body as canonical JSON.
            most: the most the attempt can cost; it stays charged if its outcome is never known.
            batch_key: batch it is sent in, if it is.
        """
        now = _now()
        fixed = (question, endpoint, model, request, "in_flight", now)
        ((number,),) = self._write(
            _BEGIN, (request_key, *fixed, most.tokens, most.usd, batch_key, request_key)
        )
        self._begun.add((request_key, number))
        return Attempt(
            request_key=request_key,
            attempt=number,
            question=question,
            endpoint=endpoint,
            model=model,
            request=request,
            status="in_flight",
            reply=None,
            finish_reason=None,
            prompt_tokens=None,
            completion_tokens=None,
            error=None,
            sent_at=now,
            duration_s=None,
            charged_tokens=most.tokens,
            charged_usd=most.usd,
            batch_key=batch_key,
        )

    def settle(self, attempt: Attempt, outcome: ChatReply | LlmError, charge: Charge) -> None:
        """Record, durably, what an attempt brought and cost; a known outcome stays as it is."""
        write = _settling(attempt, outcome, charge)
        self._write(write.statement, write.values)

    def begin_batch(
        self,
        batch_key: str,
        endpoint: str,
        model: str,
        requests: Iterable[tuple[str, str, str, Charge]],
    ) -> None:
        """Record, durably and as one, that requests are about to be sent in a batch.

        Args:
            batch_key: identity of the batch.
            endpoint: base URL.
            model: model asked.
            requests: of each its key, the kind that asks, its body and the most it can cost.
        """
        now = _now()
        batch = (batch_key, endpoint, model, "open", None, None, now)
        writes = [_Write("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", batch)]
        for key, question, request, most in requests:
            fixed = (question, endpoint, model, request, "in_flight", now)
            values = (key, *fixed, most.tokens, most.usd, batch_key, key)
            writes.append(_Write(_BEGIN, values))
        self._write_together(writes)
        self._begun.update((write.values[0], write.rows[0][0]) for write in writes[1:])

    def open_batches(self, endpoint: str, model: str) -> list[BatchRow]:
        """Batches whose outcome is not recorded yet, oldest first."""
        rows = self._read(
            "SELECT * FROM batches WHERE endpoint = ? AND model = ? AND state = 'open' "
            "ORDER BY created_at, batch_key",
            (endpoint, model),
        )
        return [BatchRow(**dict(zip(BatchRow.model_fields, row, strict=True))) for row in rows]

    def update_batch(
        self,
        batch_key: str,
        *,
        state: str | None = None,
        file_id: str | None = None,
        batch_id: str | None = None,
    ) -> None:
        """Record, durably, what became known of a batch; None leaves a field as it is."""
        self._write(
            "UPDATE batches SET state = coalesce(?, state), file_id = coalesce(?, file_id), "
            "batch_id = coalesce(?, batch_id) WHERE batch_key = ?",
            (state, file_id, batch_id, batch_key),
        )

    def batch_attempts(self, batch_key: str) -> list[Attempt]:
        """Attempts that were sent in a batch."""
        rows = self._read("SELECT * FROM attempts WHERE batch_key = ?", (batch_key,))
        return [Attempt(**dict(zip(self._columns, row, strict=True))) for row in rows]

    def settle_together(
        self, outcomes: Iterable[tuple[Attempt, ChatReply | LlmError, Charge]]
    ) -> None:
        """Record, durably and as one, what attempts brought; a known outcome stays as it is."""
        self._write_together([_settling(*each) for each in outcomes])

    def answered(self, request_key: str) -> Attempt | None:
        """The attempt that answered a request, or None."""
        done = [row for row in self.attempts(request_key) if row.status in ANSWERED]
        return done[0] if done else None

    def attempts(self, request_key: str) -> list[Attempt]:
        """All attempts at a request, first to last."""
        rows = self._read(
            "SELECT * FROM attempts WHERE request_key = ? ORDER BY attempt", (request_key,)
        )
        return [Attempt(**dict(zip(self._columns, row, strict=True))) for row in rows]

    def charged(self) -> Charge:
        """What all attempts cost, counting the most where that is not known."""
        ((tokens, usd, unknown),) = self._read(
            "SELECT coalesce(sum(charged_tokens), 0), coalesce(sum(charged_usd), 0.0), "
            "count(*) FILTER (WHERE charged_usd IS NULL AND charged_tokens > 0) FROM attempts"
        )
        return Charge(tokens=tokens, usd=None if unknown else usd)

    def uncertain(self) -> Charge:
        """The part of `charged` that is only possibly billed."""
        ((tokens, usd),) = self._read(
            "SELECT coalesce(sum(charged_tokens), 0), coalesce(sum(charged_usd), 0.0) "
            "FROM attempts WHERE status IN ('in_flight', 'error')"
        )
        return Charge(tokens=tokens, usd=usd)

    def dialect(self, endpoint: str, model: str) -> Dialect | None:
        """The dialect an endpoint was found to understand, or None."""
        rows = self._read(
            "SELECT dialect FROM dialects WHERE endpoint = ? AND model = ?", (endpoint, model)
        )
        return Dialect.model_validate_json(rows[0][0]) if rows else None

    def settle_dialect(self, endpoint: str, model: str, dialect: Dialect) -> None:
        """Record, durably, which dialect an endpoint understands."""
        self._write(
            "INSERT OR REPLACE INTO dialects VALUES (?, ?, ?, ?)",
            (endpoint, model, dialect.model_dump_json(), _now()),
        )

    def _read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._failure(error) from error

    def _write(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement and wait until it is on disk, together with all that wait meanwhile."""
        own = _Write(statement, values)
        try:
            with self._waiting_lock:
                self._waiting.append(own)
                has_committer, self._has_committer = self._has_committer, True
            if has_committer:
                own.turn.wait()
        finally:  # also when interrupted, because others may wait for this thread to commit
            if not own.done:
                self._commit_waiting()
        if own.error:
            raise self._failure(own.error) from own.error
        return own.rows

    def _commit_waiting(self) -> None:
        """Commit all that wait, and leave what comes meanwhile to the first that waits then.

        Those whose write is done go on while the next commit is under way.
        """
        writes: list[_Write] = []
        try:
            with self._lock:
                with self._waiting_lock:
                    writes, self._waiting = self._waiting, []
                self._commit(writes)
        finally:
            with self._waiting_lock:
                self._has_committer = bool(self._waiting)
                following = self._waiting[:1]
            for write in (*following, *writes):
                write.turn.set()

    def _write_together(self, writes: Sequence[_Write]) -> None:
        """Run statements, all or none, and wait until they are on disk."""
        with self._lock:
            self._commit(writes)
        if writes and (error := writes[0].error):
            raise self._failure(error) from error

    def _commit(self, writes: Sequence[_Write]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for write in writes:
                write.rows = self._db.execute(write.statement, write.values).fetchall()
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            for write in writes:
                write.error = error
            if not isinstance(error, sqlite3.Error):
                raise
        finally:
            for write in writes:
                write.done = True

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
                source.backup(self._db)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _while_locked(self, operation: Callable[[], Result]) -> Result:
        """Try again; SQLite does not wait by itself for another who is switching the journal."""
        deadline = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                return operation()
            except sqlite3.OperationalError as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _version(self) -> int:
        """Version of the file.

        Raises:
            ValueError: it is no ledger, or one of another version.
        """
        self._db.execute("BEGIN")
        version: int = self._db.execute("PRAGMA user_version").fetchone()[0]
        found = set(self._db.execute(_TABLES_AND_COLUMNS))
        self._db.execute("COMMIT")
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
            self._db.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_S * 1000)}")
            self._while_locked(self._version)  # before anything is changed
            self._while_locked(lambda: self._db.execute("PRAGMA journal_mode = WAL"))
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 1:
                for statement in _FROM_VERSION_1:
                    self._db.execute(statement)
            self._db.execute(_ATTEMPTS)
            self._db.execute(_DIALECTS)
            self._db.execute(_BATCHES)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("COMMIT")
            self._columns = [row[1] for row in self._db.execute("PRAGMA table_info(attempts)")]
        except sqlite3.Error as error:
            raise self._unusable(error) from error


def _settling(attempt: Attempt, outcome: ChatReply | LlmError, charge: Charge) -> _Write:
    """The statement that records an outcome."""
    which = (charge.tokens, charge.usd, attempt.request_key, attempt.attempt)
    if isinstance(outcome, LlmError):
        return _Write(_FAIL_ONCE, (str(outcome), outcome.body, *which))
    tokens = (outcome.prompt_tokens, outcome.completion_tokens)
    reply = (outcome.status, outcome.text, outcome.finish_reason, *tokens)
    return _Write(_SETTLE_ONCE, (*reply, outcome.duration_s, *which))


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
