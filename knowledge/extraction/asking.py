"""Asking the requests of a question until each has a valid reply or has been asked often enough."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel

from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from knowledge.extraction.question import Question, follow_up, read_answer
from knowledge.extraction.replies import Unusable
from knowledge.llm.batch.held import check_not_in_batch
from knowledge.llm.ledger.ledger import Attempt
from knowledge.llm.messages import ChatRequest, LlmError, Stopped
from knowledge.llm.options import BatchOptions
from knowledge.llm.sender import Sender

_OF_ATTEMPT = frozenset(Attempt.model_fields)
_MIN_FAILURES = 5
"""Failures in a row that do not end the asking yet."""


class AskRun:
    """All requests of one question: those sent, their replies, and those still open."""

    def __init__(
        self,
        question: Question,
        sender: Sender,
        concurrency: int,
        progress: Progress | None,
        total: int,
        batch: BatchOptions | None = None,
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
        """`run` the first wave; again in another dialect if the known one is rejected."""
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
            answers = self._sender.answers(heads)
            todo = [request for request, kept in zip(heads, answers, strict=True) if not kept]
            self._answered += len(heads) - len(todo)
            if self._progress and len(todo) < len(heads):
                self._progress(self._answered, self._total)
            sent = dict(zip(map(id, todo), self._send(todo), strict=True))
            again = [
                self._read(head, kept or sent[id(head)])
                for head, kept in zip(heads, answers, strict=True)
            ]
            heads = [request for request in again if request is not None]
            self._total += len(heads)

    def chain(self, request: ChatRequest) -> Sequence[tuple[ChatRequest, Attempt]]:
        """A request and those that put it again, with the answers; nothing if it was not needed.

        The ledger may hold an answer to a request that was not needed: other settings asked it.
        """
        return self._chains.get((request.class_id, request.group, request.round), ())

    def rows(self, requests: Iterable[ChatRequest]) -> Iterator[dict[str, Any]]:
        """Rows of `llm_calls`."""
        columns = [name for name in schema_of("llm_calls").column_names if name in _OF_ATTEMPT]
        for request in requests:
            for asked, answer in self.chain(request):
                yield {name: getattr(answer, name) for name in columns} | {
                    "class_id": asked.class_id,
                    "group": asked.group,
                    "round": asked.round,
                    "reask": asked.reask,
                }

    def report(self, requests: Sequence[ChatRequest], duration_s: float) -> dict[str, Any]:
        """How the answers came, over all runs; durations of this one."""
        asked = [each for head in requests for each in self.chain(head)]
        found = self._sender.ledger.attempts_of(answer.request_key for _, answer in asked)
        attempts = [each for _, answer in asked for each in found[answer.request_key]]
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
    def errors_with_progress(self) -> Iterator[None]:
        """Adds to an error how many requests are answered, and that none of them is lost."""
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

    def _send(self, todo: Sequence[ChatRequest]) -> Sequence[Attempt]:
        """Send requests side by side, or in batches; one that fails does not stop the others.

        Returns:
            The answers, in the order of the requests.

        Raises:
            LlmError: the first failure, once nothing more can be done.
            Stopped: see `Sender.answer` and `send_batch`.
            ValueError: without batch mode, requests that are in a batch.
        """
        if not todo:
            return ()
        if self._batch:
            return self._send_batch(todo, self._batch)
        check_not_in_batch(self._sender, todo)
        self._failure, self._failures_in_a_row = None, 0
        answers: list[Attempt | None] = [None] * len(todo)
        numbered = enumerate(todo)  # workers share it: one `next` is one turn of the interpreter

        def work() -> None:
            for number, request in numbered:
                answers[number] = self._answer(request)

        # While a reply is being recorded, another request may be in flight in its place.
        num_workers = min(len(todo), self._concurrency + self._concurrency // 8)
        with ThreadPoolExecutor(num_workers) as pool:
            workers = [pool.submit(work) for _ in range(num_workers)]
            try:
                for worker in as_completed(workers):
                    worker.result()
            except BaseException:
                self._sender.stop(Stopped("interrupted"))  # nobody begins another attempt
                raise
        if self._stop:
            raise self._stop
        if self._failure:
            raise self._failure
        return [answer for answer in answers if answer]

    def _send_batch(self, todo: Sequence[ChatRequest], config: BatchOptions) -> Sequence[Attempt]:
        from knowledge.llm.batch.batch import send_batch

        before = self._answered

        def advance(done: int) -> None:
            self._answered = before + done
            if self._progress:
                self._progress(self._answered, self._total)

        try:
            send_batch(self._sender, todo, config, advance)
        finally:
            answers = [answer for answer in self._sender.answers(todo) if answer]
            self._answered = before + len(answers)
        return answers

    def _answer(self, request: ChatRequest) -> Attempt | None:
        """The answer; None after a failure, and where nothing is sent any more."""
        if self._stop or self._failures_in_a_row >= max(self._concurrency, _MIN_FAILURES):
            return None
        try:
            answer = self._sender.answer(request)
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
            return answer
        return None

    def _read(self, request: ChatRequest, answer: Attempt) -> ChatRequest | None:
        """Keep a valid reply; the request that puts the question again if it is not."""
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
