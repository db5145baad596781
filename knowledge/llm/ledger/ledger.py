"""A durable row per attempt, written before it is sent: nothing paid for is lost or paid twice.

After `kill -9` a ledger holds every reply that arrived; what was being sent stays `in_flight`,
which means possibly billed. The text of a request is kept once, however often it is sent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from artifacts.frozen import Frozen
from knowledge.llm.budget import Charge
from knowledge.llm.ledger.file import HELD_WAIT_S, LedgerFile
from knowledge.llm.ledger.group_commit import Statement, Step, Write
from knowledge.llm.messages import ChatReply, Dialect, LlmError

ANSWERED = ("ok", "no_reply", "refusal")
"""Statuses of an attempt that need no other."""

_KEEP_REQUEST = Statement("INSERT OR IGNORE INTO requests VALUES {rows}", 2, identity=1)
_BEGIN = Statement(
    "INSERT INTO attempts (request_key, attempt, question, endpoint, model, status, sent_at, "
    "charged_tokens, charged_usd, batch_key) SELECT column1, "
    "1 + (SELECT count(*) FROM attempts WHERE request_key = column1), column2, column3, column4, "
    "'in_flight', column5, column6, column7, column8 FROM (VALUES {rows}) "
    "RETURNING request_key, attempt",
    8,
    identity=1,
)
_SETTLE_ONCE = Statement(
    "UPDATE attempts SET status = column3, reply = column4, finish_reason = column5, "
    "prompt_tokens = column6, completion_tokens = column7, error = column8, duration_s = column9, "
    "charged_tokens = column10, charged_usd = column11 FROM (VALUES {rows}) "
    "WHERE request_key = column1 AND attempt = column2 AND status = 'in_flight'",
    11,
    identity=2,
)
_BEGIN_BATCH = Statement("INSERT INTO batches VALUES {rows}", 7)
_UPDATE_BATCH = Statement(
    "UPDATE batches SET state = coalesce(?, state), file_id = coalesce(?, file_id), "
    "batch_id = coalesce(?, batch_id) WHERE batch_key = ?",
    4,
)
_SETTLE_DIALECT = Statement("INSERT OR REPLACE INTO dialects VALUES {rows}", 4)


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


_COLUMNS = ", ".join(Attempt.model_fields)
_ATTEMPTS = f"SELECT {_COLUMNS} FROM attempts JOIN requests USING (request_key)"
_OF_KEYS = "WHERE request_key IN (SELECT value FROM json_each(?)) ORDER BY request_key, attempt"


class Ledger:
    """Attempts by request key; one object serves many threads, one file many processes."""

    def __init__(
        self, path: Path | None, *, read_only: bool = False, held_wait_s: float = HELD_WAIT_S
    ) -> None:
        """Open or create a ledger.

        Args:
            path: file on a local disk; None keeps it in memory, for replies that cost nothing.
            read_only: leave the file alone, which has to exist, and work on a copy in memory.
            held_wait_s: how long another may hold it (`exclusive`) before this one is refused.

        Raises:
            ValueError: the file is no ledger, of another version, or cannot be opened.
        """
        self.file = LedgerFile(path, read_only=read_only, held_wait_s=held_wait_s)
        self._begun: set[tuple[str, int]] = set()

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
        self.file.close()

    @contextmanager
    def exclusive(self, purpose: str = "uses it") -> Iterator[None]:
        """Hold this ledger's file for asking, alone of all processes; see `LedgerFile`.

        Args:
            purpose: what is done meanwhile, for those who wait.

        Raises:
            Stopped: someone else holds it for longer.
            ValueError: the lock file cannot be written.
        """
        with self.file.exclusive(purpose):
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
        fixed = (question, endpoint, model, now)
        (number,) = self.file.write(
            (_KEEP_REQUEST, (request_key, request)),
            (_BEGIN, (request_key, *fixed, most.tokens, most.usd, batch_key)),
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
        self.file.write(_settling(attempt, outcome, charge))

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
        writes = [Write([(_BEGIN_BATCH, batch)])]
        keys = []
        for key, question, request, most in requests:
            fixed = (question, endpoint, model, now)
            values = (key, *fixed, most.tokens, most.usd, batch_key)
            writes.append(Write([(_KEEP_REQUEST, (key, request)), (_BEGIN, values)]))
            keys.append(key)
        self.file.write_together(writes)
        numbers = [write.result[0] for write in writes[1:]]
        self._begun.update(zip(keys, numbers, strict=True))

    def open_batches(self, endpoint: str, model: str) -> list[BatchRow]:
        """Batches whose outcome is not recorded yet, oldest first."""
        rows = self.file.read(
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
        self.file.write((_UPDATE_BATCH, (state, file_id, batch_id, batch_key)))

    def batch_attempts(self, batch_key: str) -> list[Attempt]:
        """Attempts that were sent in a batch."""
        return self._attempts("WHERE batch_key = ? ORDER BY request_key, attempt", batch_key)

    def settle_together(
        self, outcomes: Iterable[tuple[Attempt, ChatReply | LlmError, Charge]]
    ) -> None:
        """Record, durably and as one, what attempts brought; a known outcome stays as it is."""
        self.file.write_together([Write([_settling(*each)]) for each in outcomes])

    def answered(self, request_key: str) -> Attempt | None:
        """The attempt that answered a request, or None."""
        return self.answers([request_key]).get(request_key)

    def answers(self, request_keys: Iterable[str]) -> dict[str, Attempt]:
        """The attempts that answered requests, by key; requests without an answer left out."""
        found: dict[str, Attempt] = {}
        for each in self._attempts(_OF_KEYS, json.dumps(list(request_keys))):
            if each.status in ANSWERED:
                found.setdefault(each.request_key, each)
        return found

    def attempts(self, request_key: str) -> list[Attempt]:
        """All attempts at a request, first to last."""
        return self._attempts(_OF_KEYS, json.dumps([request_key]))

    def attempts_of(self, request_keys: Iterable[str]) -> dict[str, list[Attempt]]:
        """All attempts at requests, by key, first to last."""
        found: dict[str, list[Attempt]] = defaultdict(list)
        for each in self._attempts(_OF_KEYS, json.dumps(list(request_keys))):
            found[each.request_key].append(each)
        return found

    def charged(self) -> Charge:
        """What all attempts cost, counting the most where that is not known."""
        ((tokens, usd, unknown),) = self.file.read(
            "SELECT coalesce(sum(charged_tokens), 0), coalesce(sum(charged_usd), 0.0), "
            "count(*) FILTER (WHERE charged_usd IS NULL AND charged_tokens > 0) FROM attempts"
        )
        return Charge(tokens=tokens, usd=None if unknown else usd)

    def uncertain(self) -> Charge:
        """The part of `charged` that is only possibly billed."""
        ((tokens, usd),) = self.file.read(
            "SELECT coalesce(sum(charged_tokens), 0), coalesce(sum(charged_usd), 0.0) "
            "FROM attempts WHERE status IN ('in_flight', 'error')"
        )
        return Charge(tokens=tokens, usd=usd)

    def dialect(self, endpoint: str, model: str) -> Dialect | None:
        """The dialect an endpoint was found to understand, or None."""
        rows = self.file.read(
            "SELECT dialect FROM dialects WHERE endpoint = ? AND model = ?", (endpoint, model)
        )
        return Dialect.model_validate_json(rows[0][0]) if rows else None

    def settle_dialect(self, endpoint: str, model: str, dialect: Dialect) -> None:
        """Record, durably, which dialect an endpoint understands."""
        values = (endpoint, model, dialect.model_dump_json(), _now())
        self.file.write((_SETTLE_DIALECT, values))

    def _attempts(self, which: str, value: str) -> list[Attempt]:
        rows = self.file.read(f"{_ATTEMPTS} {which}", (value,))
        return [Attempt(**dict(zip(Attempt.model_fields, row, strict=True))) for row in rows]


def _settling(attempt: Attempt, outcome: ChatReply | LlmError, charge: Charge) -> Step:
    """What records an outcome."""
    which = (attempt.request_key, attempt.attempt)
    brought: tuple[str | float | None, ...]
    if isinstance(outcome, LlmError):
        brought = ("error", outcome.body, None, None, None, str(outcome), None)
    else:
        tokens = (outcome.prompt_tokens, outcome.completion_tokens)
        reply = (outcome.status, outcome.text, outcome.finish_reason, *tokens)
        brought = (*reply, None, outcome.duration_s)
    return _SETTLE_ONCE, (*which, *brought, charge.tokens, charge.usd)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
