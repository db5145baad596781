"""A durable row per attempt, written before it is sent: nothing paid for is lost or paid twice.

A local SQLite file (write-ahead log, fsync on every commit). After `kill -9` it holds every reply
that arrived; what was being sent stays `in_flight`, which means possibly billed.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from artifacts.provenance import Frozen, canonical_json
from knowledge.llm.messages import ChatModel, ChatReply, ChatRequest, LlmError

ANSWERED = ("ok", "no_reply", "refusal")
"""Statuses of an attempt that need no other."""

_LOG = logging.getLogger(__name__)
_VERSION = 1
_BUSY_TIMEOUT_S = 60.0
_TABLE = """
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
    PRIMARY KEY (request_key, attempt)
) WITHOUT ROWID
"""


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


class Ledger:
    """Attempts by request key; one object serves many threads, one file many processes."""

    def __init__(self, path: Path | None) -> None:
        """Open or create a ledger.

        Args:
            path: file on a local disk; None keeps it in memory, for replies that cost nothing.

        Raises:
            ValueError: the file is no ledger, of another version, or cannot be opened.
        """
        self._lock = threading.Lock()
        self._path = path
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

    def begin(self, request: ChatRequest, endpoint: str, model: str) -> Attempt:
        """Record, durably, that a request is about to be sent."""
        key = request.key(endpoint, model)
        body = canonical_json(request.body(model))
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        rows = self._run(
            "INSERT INTO attempts (request_key, attempt, question, endpoint, model, request, "
            "status, sent_at) SELECT ?, 1 + COUNT(*), ?, ?, ?, ?, 'in_flight', ? FROM attempts "
            "WHERE request_key = ? RETURNING *",
            (key, request.question, endpoint, model, body, now, key),
        )
        return rows[0]

    def settle(self, attempt: Attempt, reply: ChatReply) -> None:
        """Record, durably, what an attempt brought."""
        self._run(
            "UPDATE attempts SET status = ?, reply = ?, finish_reason = ?, prompt_tokens = ?, "
            "completion_tokens = ?, duration_s = ? WHERE request_key = ? AND attempt = ?",
            (
                reply.status,
                reply.text,
                reply.finish_reason,
                reply.prompt_tokens,
                reply.completion_tokens,
                reply.duration_s,
                attempt.request_key,
                attempt.attempt,
            ),
        )

    def fail(self, attempt: Attempt, error: LlmError) -> None:
        """Record, durably, that an attempt brought no usable answer."""
        self._run(
            "UPDATE attempts SET status = 'error', error = ? WHERE request_key = ? AND attempt = ?",
            (str(error), attempt.request_key, attempt.attempt),
        )

    def send(self, model: ChatModel, request: ChatRequest) -> ChatReply:
        """Make one attempt, recorded before and after it.

        Raises:
            LlmError: no usable answer came.
        """
        attempt = self.begin(request, model.endpoint, model.model)
        try:
            reply = model.complete(request)
        except LlmError as error:
            self.fail(attempt, error)
            raise
        self.settle(attempt, reply)
        return reply

    def answered(self, request_key: str) -> Attempt | None:
        """The attempt that answered a request, or None."""
        done = [row for row in self.attempts(request_key) if row.status in ANSWERED]
        return done[0] if done else None

    def attempts(self, request_key: str) -> list[Attempt]:
        """All attempts at a request, first to last."""
        return self._run(
            "SELECT * FROM attempts WHERE request_key = ? ORDER BY attempt", (request_key,)
        )

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Attempt]:
        with self._lock:
            try:
                cursor = self._db.execute(statement, values)
                names = [column[0] for column in cursor.description or ()]
                rows = cursor.fetchall()
            except sqlite3.Error as error:
                raise ValueError(
                    f"ledger {self._path}: {error}; every reply it took before is safe, make it "
                    "writable and run the same command again"
                ) from error
        return [Attempt(**dict(zip(names, row, strict=True))) for row in rows]

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
            if version not in (0, _VERSION):
                raise ValueError(
                    f"ledger {path} has version {version}, this program writes {_VERSION}; "
                    "give another path"
                )
            self._db.execute(_TABLE)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.Error as error:
            raise ValueError(f"ledger {path}: {error}; give another path") from error
