"""Writes of many threads to one SQLite connection: those that arrive together share a commit.

They also share statements: one with forty rows takes a fraction of the time of forty, during which
every other thread of the interpreter wants its turn forty times.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_MAX_ROWS = 64
"""Of one statement."""


@dataclass(frozen=True, eq=False)
class Statement:
    """What is done with a row of values; `{rows}` in the SQL stands for several such rows."""

    sql: str
    width: int
    """Values in a row."""
    identity: int = 0
    """First values by which rows that go into one execution differ, and by which RETURNING names
    them; 0 where rows cannot go together."""

    def of(self, num_rows: int) -> str:
        """The SQL for so many rows."""
        if num_rows not in self._sql:
            row = f"({', '.join('?' * self.width)})"
            self._sql[num_rows] = self.sql.format(rows=", ".join([row] * num_rows))
        return self._sql[num_rows]

    @cached_property
    def _sql(self) -> dict[int, str]:
        return {}


Step = tuple[Statement, tuple[Any, ...]]
"""A statement and a row of values."""


class Write:
    """Steps that wait for their commit."""

    __slots__ = ("error", "is_done", "result", "steps", "turn")

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps
        self.result: tuple[Any, ...] = ()
        """What RETURNING said beside the identity."""
        self.error: BaseException | None = None
        self.is_done = False
        self.turn = threading.Lock()
        """Released when it is done, or when its thread has to commit for all that wait."""
        self.turn.acquire()


class GroupCommit:
    """Reads and durable writes on one connection (in autocommit mode), for many threads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.lock = threading.Lock()
        """Held by whoever uses the connection."""
        self.waiting: list[Write] = []
        self._has_committer = False
        self._waiting_lock = threading.Lock()
        """Held by whoever uses these two."""

    def read(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query.

        Raises:
            sqlite3.Error: it failed.
        """
        with self.lock:
            return self._connection.execute(statement, values).fetchall()

    def write(self, *steps: Step) -> tuple[Any, ...]:
        """Run steps and wait until they are on disk, together with all that wait meanwhile.

        Returns:
            What RETURNING said of the last.

        Raises:
            sqlite3.Error: nothing was written.
        """
        own = Write(steps)
        try:
            with self._waiting_lock:
                self.waiting.append(own)
                has_committer, self._has_committer = self._has_committer, True
            if has_committer:
                own.turn.acquire()
        finally:  # also when interrupted, because others may wait for this thread to commit
            if not own.is_done:
                self._commit_waiting()
        if own.error:
            raise own.error
        return own.result

    def write_together(self, writes: Sequence[Write]) -> None:
        """Run writes, all or none, and wait until they are on disk.

        Raises:
            sqlite3.Error: nothing was written.
        """
        with self.lock:
            self._commit(writes)
        if writes and (error := writes[0].error):
            raise error

    def _commit_waiting(self) -> None:
        """Commit all that wait, and leave what comes meanwhile to the first that waits then.

        Those whose write is done go on while the next commit is under way.
        """
        writes: list[Write] = []
        try:
            with self.lock:
                with self._waiting_lock:
                    writes, self.waiting = self.waiting, []
                self._commit(writes)
        finally:
            with self._waiting_lock:
                self._has_committer = bool(self.waiting)
                for write in (*self.waiting[:1], *writes):
                    if write.turn.locked():  # not if it was its turn and it was interrupted
                        write.turn.release()

    def _commit(self, writes: Sequence[Write]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._run(writes)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for write in writes:
                write.error = error
            if not isinstance(error, sqlite3.Error):
                raise
        finally:
            for write in writes:
                write.is_done = True

    def _run(self, writes: Iterable[Write]) -> None:
        """Run all steps as if one after another."""
        groups: dict[Statement, dict[tuple[Any, ...], tuple[tuple[Any, ...], Write]]] = {}
        for write in writes:
            for statement, values in write.steps:
                group = groups.setdefault(statement, {})
                name = values[: statement.identity]
                if name in group or len(group) == _MAX_ROWS or not statement.identity:
                    self._run_groups(groups)
                    group = groups[statement]
                group[name] = (values, write)
        self._run_groups(groups)

    def _run_groups(
        self, groups: dict[Statement, dict[tuple[Any, ...], tuple[tuple[Any, ...], Write]]]
    ) -> None:
        for statement, group in groups.items():
            if group:
                flat = [value for values, _ in group.values() for value in values]
                for row in self._connection.execute(statement.of(len(group)), flat):
                    _, write = group[row[: statement.identity]]
                    write.result = row[statement.identity :]
                group.clear()
