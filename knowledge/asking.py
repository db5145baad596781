"""One question on its way: what is sent, what came back, what is still missing."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel

from artifacts.schemas import schema_of
from knowledge.llm.batch import BatchConfig, check_not_in_batch, send_batch
from knowledge.llm.ledger import Attempt
from knowledge.llm.messages import ChatRequest, LlmError, Stopped
from knowledge.llm.sender import Sender
from knowledge.question import Question, follow_up, read_answer
from knowledge.reading import Unusable

Progress = Callable[[int, int], None]
"""Called with (done, total)."""
_MIN_FAILURES = 5
"""Failures in a row that do not end the asking yet."""


class Job:
    """One question on its way: what is sent, what came back, what is still missing."""

    def __init__(
        self,
        question: Question,
        sender: Sender,
        concurrency: int,
        progress: Progress | None,
        total: int,
        batch: BatchConfig | None = None,
    ) -> None:
        self._batch = None if sender.model.recorded else batch
        self._question = question
        self._sender = sender
        self._concurrency = concurrency
        self._progress = progress
        self._total = total
        self._answered = 0
        self._lock = threading.Lock()
        self._failure: LlmError | None = None
        self._failures_in_a_row = 0
        self._stop: Stopped | None = None
        self._valid: dict[tuple[int, str], list[BaseModel]] = defaultdict(list)
        self._chains: dict[tuple[int, str, int], list[tuple[ChatRequest, Attempt]]] = {}

    def start(self, wave: Sequence[ChatRequest]) -> None:
        """`run` the first wave; again if all of it is rejected in a dialect once understood."""
        self._sender.settle(*wave)
        try:
            self.run(wave)
        except LlmError as error:
            if self._batch or not self._sender.settle_again(error, wave):
                raise
            self.run(wave)

    def run(self, wave: Iterable[ChatRequest]) -> None:
        """Answer those requests of a wave that are still open, with everything asked again."""
        heads = [
            request
            for request in wave
            if self._question.still_open(request, self._valid[request.class_id, request.group])
        ]
        while heads:
            kept = [self._sender.answered(request) for request in heads]
            todo = [request for request, answer in zip(heads, kept, strict=True) if not answer]
            self._answered += len(heads) - len(todo)
            if self._progress and len(todo) < len(heads):
                self._progress(self._answered, self._total)
            self._send(todo)
            again = [self._read(*each) for each in zip(heads, kept, strict=True)]
            heads = [request for request in again if request is not None]
            self._total += len(heads)

    def chain(self, request: ChatRequest) -> Sequence[tuple[ChatRequest, Attempt]]:
        """A request and those that put it again, with the answers; nothing if it was not needed.

        The ledger may hold an answer to a request that was not needed: other settings asked it.
        """
        return self._chains.get((request.class_id, request.group, request.round), ())

    def rows(self, requests: Iterable[ChatRequest]) -> Iterator[dict[str, Any]]:
        """Rows of `llm_calls`."""
        for request in requests:
            for asked, answer in self.chain(request):
                row = answer.model_dump(include=set(schema_of("llm_calls").column_names))
                yield row | {
                    "class_id": asked.class_id,
                    "group": asked.group,
                    "round": asked.round,
                    "reask": asked.reask,
                }

    def report(self, requests: Sequence[ChatRequest], duration_s: float) -> dict[str, Any]:
        """How the answers came, over all runs; durations of this one."""
        asked = [each for head in requests for each in self.chain(head)]
        attempts = [
            attempt
            for _, answer in asked
            for attempt in self._sender.ledger.attempts(answer.request_key)
        ]
        statuses = Counter(each.status for each in attempts)
        charged = [
            0.0 if self._sender.model.recorded or not each.charged_tokens else each.charged_usd
            for each in attempts
        ]
        return {
            "requests": len(requests),
            "not_needed": len(requests) - sum(request.reask == 0 for request, _ in asked),
            "asked_again": sum(request.reask > 0 for request, _ in asked),
            "attempts": len(attempts),
            "statuses": dict(sorted(statuses.items())),
            "possibly_billed": sum(
                each.status in ("in_flight", "error") and each.charged_tokens > 0
                for each in attempts
            ),
            "prompt_tokens": sum(each.prompt_tokens or 0 for each in attempts),
            "completion_tokens": sum(each.completion_tokens or 0 for each in attempts),
            "usd": None if None in charged else sum(each or 0.0 for each in charged),
            "duration_s": round(duration_s, 3),
            "calls_per_second": round(self._sender.num_attempts / max(duration_s, 1e-9), 2),
        }

    @contextmanager
    def telling_what_is_kept(self) -> Iterator[None]:
        """Adds to a failure or stop what was reached and that nothing is lost."""
        try:
            yield
        except LlmError as error:
            raise LlmError(
                error.endpoint,
                f"{self._kept()}; {error.problem}",
                f"{error.remedy}, then the same command goes on from there",
                error.status_code,
            ) from None
        except Stopped as stop:
            raise Stopped(f"{stop}; {self._kept()}, the same command goes on from there") from None

    def _send(self, todo: Sequence[ChatRequest]) -> None:
        """Send requests side by side, or in batches; one that fails does not stop the others.

        Raises:
            LlmError: the first failure, once nothing more can be done.
            Stopped: see `Sender.answer` and `send_batch`.
            ValueError: without batch mode, requests that are in a batch.
        """
        if self._batch:
            self._send_batch(todo, self._batch)
            return
        check_not_in_batch(self._sender, todo)
        self._failure, self._failures_in_a_row = None, 0
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                for _ in pool.map(self._answer, todo):
                    pass
            except BaseException:
                self._sender.stop(Stopped("interrupted"))  # nobody begins another attempt
                raise
        if self._stop:
            raise self._stop
        if self._failure:
            raise self._failure

    def _send_batch(self, todo: Sequence[ChatRequest], config: BatchConfig) -> None:
        before = self._answered

        def advance(done: int) -> None:
            self._answered = before + done
            if self._progress:
                self._progress(self._answered, self._total)

        try:
            send_batch(self._sender, todo, config, advance)
        finally:
            kept = sum(self._sender.answered(request) is not None for request in todo)
            self._answered = before + kept

    def _answer(self, request: ChatRequest) -> None:
        if self._stop or self._failures_in_a_row >= max(self._concurrency, _MIN_FAILURES):
            return
        try:
            self._sender.answer(request)
        except LlmError as error:
            with self._lock:
                self._failure = self._failure or error
                self._failures_in_a_row += 1
        except Stopped as stop:
            self._stop = stop
        else:
            with self._lock:
                self._failures_in_a_row = 0
                self._answered += 1
                if self._progress:
                    self._progress(self._answered, self._total)

    def _read(self, request: ChatRequest, kept: Attempt | None) -> ChatRequest | None:
        """Keep a valid reply; the request that puts the question again if it is not."""
        answer = kept or self._sender.answered(request)
        assert answer is not None
        identity = (request.class_id, request.group, request.round)
        self._chains.setdefault(identity, []).append((request, answer))
        try:
            reply = read_answer(self._question, answer.reply, answer.status, answer.finish_reason)
        except Unusable:
            return self._again(request, answer)
        self._valid[request.class_id, request.group].append(reply)
        return None

    def _again(self, request: ChatRequest, answer: Attempt) -> ChatRequest | None:
        """Recorded replies are always the same, so asking again would bring nothing."""
        return None if self._sender.model.recorded else follow_up(self._question, request, answer)

    def _kept(self) -> str:
        return f"{self._answered} of {self._total} requests are answered and kept"
