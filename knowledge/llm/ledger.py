"""A durable row per attempt, written before it is sent: nothing paid for is lost or paid twice.

A local SQLite file (write-ahead log, fsync on every commit). After `kill -9` it holds every reply
that arrived; what was being sent stays `in_flight`, which means possibly billed. Writes that arrive
together share a commit, so many workers do not wait for many fsyncs.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from artifacts.provenance import Frozen
from knowledge.llm.budget import Charge
from knowledge.llm.messages import ChatReply, Dialect, LlmError

ANSWERED = ("ok", "no_reply", "refusal")
"""Statuses of an attempt that need no other."""

_LOG = logging.getLogger(__name__)
_VERSION = 2
_BUSY_TIMEOUT_S = 60.0
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
    "UPDATE attempts SET status = 'error', error = ?, charged_tokens = ?, charged_usd = ? "
    "WHERE request_key = ? AND attempt = ? AND status = 'in_flight'"
)
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

    def __init__(self, path: Path | None) -> None:
        """Open or create a ledger.

        Args:
            path: file on a local disk; None keeps it in memory, for replies that cost nothing.

        Raises:
            ValueError: the file is no ledger, of another version, or cannot be opened.
        """
        self._path = path
        self._lock = threading.Lock()
        """Held by whoever uses the connection."""
        self._waiting: list[_Write] = []
        self._has_committer = False
        self._waiting_lock = threading.Lock()
        """Held by whoever uses these two."""
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(
                path or ":memory:",
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise ValueError(f"ledger {path}: {error}; give another path") from error
        try:
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
    def exclusive(self) -> Iterator[None]:
        """Waits until no one else, in any process, holds this ledger's file for asking.

        Whoever comes second then finds the answers instead of paying for them again. The lock is a
        file beside the ledger; the system releases it when its holder dies.
        """
        if self._path is None:
            yield
            return
        with self._path.with_name(f"{self._path.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _LOG.warning("ledger %s: another extraction uses it; waiting", self._path)
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

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

    def settle(self, attempt: Attempt, reply: ChatReply, charge: Charge) -> None:
        """Record, durably, what an attempt brought and cost."""
        self._write(
            "UPDATE attempts SET status = ?, reply = ?, finish_reason = ?, prompt_tokens = ?, "
            "completion_tokens = ?, duration_s = ?, charged_tokens = ?, charged_usd = ? "
            "WHERE request_key = ? AND attempt = ?",
            (
                reply.status,
                reply.text,
                reply.finish_reason,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.duration_s,
                charge.tokens,
                charge.usd,
                attempt.request_key,
                attempt.attempt,
            ),
        )

    def fail(self, attempt: Attempt, error: LlmError, charge: Charge) -> None:
        """Record, durably, that an attempt brought no usable answer, and what it may have cost."""
        self._write(
            "UPDATE attempts SET status = 'error', error = ?, charged_tokens = ?, charged_usd = ? "
            "WHERE request_key = ? AND attempt = ?",
            (str(error), charge.tokens, charge.usd, attempt.request_key, attempt.attempt),
        )

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
        writes = []
        for attempt, outcome, charge in outcomes:
            which = (charge.tokens, charge.usd, attempt.request_key, attempt.attempt)
            if isinstance(outcome, LlmError):
                writes.append(_Write(_FAIL_ONCE, (str(outcome), *which)))
                continue
            tokens = (outcome.prompt_tokens, outcome.completion_tokens)
            reply = (outcome.status, outcome.text, outcome.finish_reason, *tokens)
            writes.append(_Write(_SETTLE_ONCE, (*reply, outcome.duration_s, *which)))
        self._write_together(writes)

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
        with self._waiting_lock:
            self._waiting.append(own)
            has_committer, self._has_committer = self._has_committer, True
        try:
            if has_committer:
                own.turn.wait()
        finally:  # also when interrupted: nobody else may be told to commit
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

    def _use_wal(self) -> None:
        """Switch the journal; SQLite does not wait by itself for another who is switching it."""
        deadline = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def _prepare(self) -> None:
        path = self._path
        try:
            self._db.execute(f"PRAGMA busy_timeout = {int(_BUSY_TIMEOUT_S * 1000)}")
            self._use_wal()
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, 1, _VERSION):
                raise ValueError(
                    f"ledger {path} has version {version}, this program writes {_VERSION}; "
                    "give another path"
                )
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
            raise ValueError(f"ledger {path}: {error}; give another path") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
