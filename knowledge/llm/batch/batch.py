"""Asking in batches: cheaper, an answer within a day, and nothing paid twice.

A batch is a row of the ledger, with the attempts in it, before anything is uploaded, and carries
the row's key as metadata at the endpoint. So whoever goes on after a crash knows which batches are
open: one with an id is waited for; one without is looked up by its key, and submitted only if the
endpoint does not have it. A batch that the endpoint has no more, or whose results it has no more,
is closed as lost: its requests stay charged, because they may have been billed, and are asked
again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from artifacts.provenance import canonical_json
from knowledge.llm.batch.api import (
    ENDED,
    BatchApi,
    NotDone,
    Results,
    line,
)
from knowledge.llm.batch.held import named
from knowledge.llm.budget import Charge
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Attempt, BatchRow
from knowledge.llm.messages import ChatReply, ChatRequest, LlmError, Stopped
from knowledge.llm.options import BatchOptions
from knowledge.llm.sender import Sender

if TYPE_CHECKING:
    from openai.types import Batch

_LOG = logging.getLogger(__name__)
_DOWNLOADS = 3


def send_batch(
    sender: Sender,
    requests: Sequence[ChatRequest],
    config: BatchOptions,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Answer requests in batches, after those that the ledger holds open for the model.

    A request whose result is an error that will not pass is not sent again in this run. Where the
    cap leaves no room for all, as many as fit are sent.

    Args:
        sender: keeps ledger and budget; its model must be an endpoint.
        requests: what to ask.
        config: how.
        progress: called with the number of requests that are done.

    Raises:
        LlmError: an endpoint without batches, a batch or request it refused, results that cannot
            be read (the batch stays open), or requests that `config.attempts` batches left undone.
        Stopped: the cap is reached, `config.max_wait_s` is over, the wait was interrupted (Ctrl-C),
            the endpoint of a batch under way does not answer, or someone cancelled the batch; the
            same command goes on from there.
        ValueError: the model is no endpoint.
    """
    _Batches(sender, requests, config, progress).run()


class _Batches:
    """The batches of one model, and the requests that are wanted from them."""

    def __init__(
        self,
        sender: Sender,
        requests: Sequence[ChatRequest],
        config: BatchOptions,
        progress: Callable[[int], None] | None,
    ) -> None:
        if not isinstance(sender.model, OpenAiChat):
            raise ValueError(  # noqa: TRY004
                f"model {sender.model.model!r} has no batches; only an endpoint has, ask one by one"
            )
        self._model = sender.model
        self._api = BatchApi(sender.model, config.poll_s)
        self._sender = sender
        self._ledger = sender.ledger
        self._config = config
        self._requests = {sender.key(request): request for request in requests}
        self._progress = progress
        self._new: set[str] = set()
        """Keys of batches that cannot be at the endpoint yet."""
        self._given_up: set[str] = set()
        """Keys of requests whose error will not pass."""
        self._unreadable: set[str] = set()
        """Keys of batches that stay open because their results cannot be read."""
        self._failure: LlmError | None = None
        self._stop: Stopped | None = None

    def run(self) -> None:
        """See `send_batch`."""
        if not self._missing():
            return
        self._finish_open()
        for _ in range(self._config.attempts):
            if self._stop or not (missing := self._missing()):
                break
            self._write_ahead(missing)
            self._finish_open()
        if self._stop:
            raise self._stop
        if self._failure:
            raise self._failure
        if missing := self._missing():
            raise self._error(
                f"{len(missing)} requests got no result in {self._config.attempts} batches",
                "ask one by one, or later",
            )

    def _missing(self) -> dict[str, ChatRequest]:
        return {
            key: request
            for key, request in self._requests.items()
            if key not in self._given_up and self._ledger.answered(key) is None
        }

    def _write_ahead(self, missing: Mapping[str, ChatRequest]) -> None:
        """Reserve and record what the cap allows, in batches of the allowed size."""
        entries: list[tuple[str, str, str, Charge]] = []
        size = 0
        for key, request in missing.items():
            try:
                most = self._sender.reserve_in_batch(request)
            except Stopped as stop:
                self._stop = stop
                break
            body = canonical_json(self._sender.body(request))
            num_bytes = len(line(key, body))
            if (
                len(entries) == self._config.max_requests
                or size + num_bytes > self._config.max_file_bytes
            ):
                self._record(entries)
                entries, size = [], 0
            entries.append((key, request.question, body, most))
            size += num_bytes
        self._record(entries)

    def _record(self, entries: Sequence[tuple[str, str, str, Charge]]) -> None:
        if entries:
            batch_key = uuid.uuid4().hex
            self._ledger.begin_batch(batch_key, self._model.endpoint, self._model.model, entries)
            self._new.add(batch_key)

    def _finish_open(self) -> None:
        """Submit what is not at the endpoint yet, then take the results of all open batches."""
        rows = self._ledger.open_batches(self._model.endpoint, self._model.model)
        rows = [row for row in rows if row.batch_key not in self._unreadable]
        waiting = {row.batch_id: row for row in rows if row.batch_id}
        started = time.monotonic()
        try:
            for row in rows:
                if row.batch_id is None:
                    waiting[self._submit(row)] = row
            while waiting:
                self._take_ended(waiting)
                limit = self._config.max_wait_s
                if waiting and limit is not None and time.monotonic() - started >= limit:
                    raise Stopped(_under_way(waiting))
                if waiting:
                    time.sleep(self._config.poll_s)
        except KeyboardInterrupt:
            if not waiting:
                raise
            raise Stopped(_under_way(waiting)) from None
        except LlmError as error:
            if not waiting or not error.is_transient:
                raise
            raise Stopped(f"{_under_way(waiting)}; {error}") from None

    def _submit(self, row: BatchRow) -> str:
        """Bring a batch to the endpoint unless it is there; returns the endpoint's id."""
        batch_id = None if row.batch_key in self._new else self._api.find(row.batch_key)
        if batch_id is None:
            attempts = self._ledger.batch_attempts(row.batch_key)
            try:
                file_id = row.file_id or self._api.upload(
                    line(each.request_key, each.request) for each in attempts
                )
            except LlmError as error:
                self._close_refused(row, error)  # without a file there is no batch
                raise
            self._ledger.update_batch(row.batch_key, file_id=file_id)
            try:
                batch_id = self._api.create(row.batch_key, file_id, self._config.window)
            except LlmError as error:
                if not error.may_be_billed:
                    self._close_refused(row, error)
                raise
        self._ledger.update_batch(row.batch_key, batch_id=batch_id)
        _LOG.info("%s is %s at %s", named(row), batch_id, row.endpoint)
        return batch_id

    def _close_refused(self, row: BatchRow, error: LlmError) -> None:
        attempts = self._ledger.batch_attempts(row.batch_key)
        self._fail(attempts, f"{named(row)} was refused: {error.problem}")
        self._ledger.update_batch(row.batch_key, state="refused")

    def _take_ended(self, waiting: dict[str, BatchRow]) -> None:
        """Look at each batch once; those that ended are ingested and leave `waiting`."""
        num_done = 0
        for batch_id, row in list(waiting.items()):
            batch = self._api.retrieve(batch_id, row.batch_key)
            if batch is None:
                self._lose(row, "the endpoint has it no more")
                del waiting[batch_id]
            elif batch.status in ENDED:
                self._ingest(row, batch)
                del waiting[batch_id]
            elif batch.request_counts:
                num_done += batch.request_counts.completed
        if self._progress:
            num_answered = len(self._requests) - len(self._missing())
            self._progress(min(len(self._requests), num_answered + num_done))

    def _ingest(self, row: BatchRow, batch: Batch) -> None:
        """Settle what a batch that ended brought; doing it again changes nothing."""
        attempts = {each.request_key: each for each in self._ledger.batch_attempts(row.batch_key)}
        in_flight = {key: each for key, each in attempts.items() if each.status == "in_flight"}
        results = self._download(batch, in_flight)
        seen: set[str] = set()
        ignored: Counter[str] = Counter(unreadable=results.num_unreadable)
        outcomes: list[tuple[Attempt, ChatReply | LlmError]] = []
        for key, outcome in results.outcomes:
            if key not in attempts:
                ignored["unknown"] += 1
            elif key in seen:
                ignored["repeated"] += 1
            elif key in in_flight:
                outcomes.append((in_flight.pop(key), outcome))
                self._note(key, outcome)
            seen.add(key)
            if len(outcomes) >= self._config.rows_per_commit:
                self._sender.settle_batch(outcomes)
                outcomes = []
        self._sender.settle_batch(outcomes)
        if in_flight and results.problem:
            self._leave_open(row, batch, in_flight, results.problem)
            return
        if in_flight and results.is_gone:
            self._lose(row, "the endpoint has its results no more")
            return
        self._note_end(row, batch, in_flight)
        self._fail(in_flight.values(), f"{named(row, batch)} left it undone")
        self._ledger.update_batch(row.batch_key, state=batch.status)
        if ignored := +ignored:
            _LOG.warning("%s: ignored lines: %s", named(row, batch), dict(ignored))

    def _download(self, batch: Batch, in_flight: Iterable[str]) -> Results:
        """The results; again where an answer that is wanted may be in what cannot be read."""
        for number in range(1, _DOWNLOADS + 1):
            results = self._api.results(batch)
            unknown = set(in_flight) - {key for key, _ in results.outcomes}
            if not unknown or results.problem is None or number == _DOWNLOADS:
                break
            time.sleep(self._config.poll_s)
        return results

    def _leave_open(
        self, row: BatchRow, batch: Batch, undone: Mapping[str, Attempt], problem: str
    ) -> None:
        """Ask nothing again that may be answered and paid for in what cannot be read."""
        self._unreadable.add(row.batch_key)
        self._given_up.update(undone)
        error = self._error(
            f"{named(row, batch)}: {problem}",
            "try again later; if that does not help, delete its result files at the endpoint to "
            f"have the {len(undone)} requests asked, and possibly paid, again",
        )
        _LOG.warning("%s", error)
        if not self._requests.keys().isdisjoint(undone):
            self._failure = self._failure or error

    def _lose(self, row: BatchRow, problem: str) -> None:
        """Close a batch that will never bring results; it may have been billed."""
        attempts = [
            each
            for each in self._ledger.batch_attempts(row.batch_key)
            if each.status == "in_flight"
        ]
        error = self._error(f"{named(row)} is lost: {problem}", "it is asked again")
        self._sender.settle_batch([(each, error) for each in attempts])
        self._ledger.update_batch(row.batch_key, state="lost")
        _LOG.warning(
            "%s is lost: %s; its %d requests stay charged, and those that are wanted are asked "
            "again",
            named(row),
            problem,
            len(attempts),
        )

    def _note(self, key: str, outcome: ChatReply | LlmError) -> None:
        if isinstance(outcome, LlmError) and not outcome.is_transient:
            self._given_up.add(key)
            if key in self._requests:
                self._failure = self._failure or outcome

    def _note_end(self, row: BatchRow, batch: Batch, undone: Mapping[str, Attempt]) -> None:
        """A batch that failed or was cancelled is not sent again without being asked to."""
        if batch.status == "failed":
            self._given_up.update(undone)
            details = [
                f"line {each.line}: {each.message or each.code}" if each.line else each.message
                for each in (batch.errors.data if batch.errors else None) or ()
            ]
            self._failure = self._failure or self._error(
                f"{named(row, batch)} failed: {'; '.join(filter(None, details)) or 'no reason'}",
                "correct that; if too much is queued, make batches smaller (max_requests)",
            )
        elif batch.status == "cancelled" and undone:
            self._stop = self._stop or Stopped(
                f"{named(row, batch)} was cancelled with {len(undone)} requests undone"
            )

    def _fail(self, attempts: Iterable[Attempt], problem: str) -> None:
        error = NotDone(self._model.endpoint, problem, "it is asked again")
        self._sender.settle_batch(
            [(each, error) for each in attempts if each.status == "in_flight"]
        )

    def _error(self, problem: str, remedy: str) -> LlmError:
        return LlmError(self._model.endpoint, self._model.redacted(problem), remedy)


def _under_way(waiting: Iterable[str]) -> str:
    ids = list(waiting)
    more = f" and {len(ids) - 1} more are" if len(ids) > 1 else " is"
    return f"batch {ids[0]}{more} under way at the endpoint"
