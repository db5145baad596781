"""One request to an answer: limits, budget, ledger and retries around a `ChatModel`.

Every attempt passes here, so this is the only place that decides whether one is made.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import tenacity

from knowledge.llm.budget import (
    Budget,
    Charge,
    Price,
    actual,
    likely_tokens,
    longest_reply,
    worst_case,
)
from knowledge.llm.ledger.ledger import Attempt, Ledger
from knowledge.llm.limits import Limits, LimitsOptions, shared_limits
from knowledge.llm.messages import (
    ChatModel,
    ChatReply,
    ChatRequest,
    Dialect,
    LlmError,
    RequestBodies,
    Stopped,
    ladder,
)
from knowledge.llm.options import SendOptions

_LOG = logging.getLogger(__name__)
_REJECTED = (400, 415, 422, 501)
"""Statuses with which endpoints reject a field they do not know."""
_PERHAPS_REJECTED = (404, 500)
"""Statuses with which some gateways do; believed once, for the first request of all."""
_MAX_PROBES = 3
"""Requests with which a dialect is looked for."""
_UNREADABLE_ATTEMPTS = 2
"""Billed answers to a request, over all runs, that cannot be read, before it counts as answered."""


class Sender:
    """Sends requests; one object serves many threads.

    A `Stopped` of one thread stops all: no thread begins another attempt.
    """

    def __init__(
        self,
        model: ChatModel,
        ledger: Ledger,
        config: SendOptions,
        price: Price | None = None,
        bodies: RequestBodies | None = None,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            model: who answers.
            ledger: keeps every attempt.
            config: limits, retries and cap.
            price: of the model, if known.
            bodies: of the model, where some were made before.

        Raises:
            ValueError: a cap in money without a price.
        """
        self.model = model
        self.ledger = ledger
        self.dialect = Dialect()
        self.num_attempts = 0
        self.num_answers = 0
        if model.recorded:  # free and local
            config = SendOptions(limits=LimitsOptions(concurrency=config.limits.concurrency))
        self._config = config
        self._price = price
        self._limits: Limits = shared_limits(model.endpoint, model.model, config.limits)
        self._budget = Budget(config.cap, ledger.charged(), price, ledger.uncertain())
        self._excess = 1.0
        """How many times its limit the longest reply was long."""
        self._is_settled_before = False
        """Whether the dialect was found by an earlier run."""
        self._stopped: Stopped | None = None
        self._lock = threading.Lock()
        self._settled = threading.Condition()
        self._reserved = 0
        self._bodies = bodies or RequestBodies(model.endpoint, model.model)
        retry = config.retry
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(retry.retries + 1),
            wait=tenacity.wait_random_exponential(retry.pause_s, max=retry.max_pause_s),
            retry=tenacity.retry_if_exception(_may_pass),
            sleep=self._sleep,
            reraise=True,
        )

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """The exact body that is sent."""
        return request.body(self.model.model, self.dialect)

    def key(self, request: ChatRequest) -> str:
        """Identity of a request: SHA-256 (hex) of endpoint, body and round."""
        return self._bodies.of(request, self.dialect).key

    def answered(self, request: ChatRequest) -> Attempt | None:
        """The answer the ledger holds, or None."""
        return self.ledger.answered(self.key(request))

    def answers(self, requests: Iterable[ChatRequest]) -> list[Attempt | None]:
        """The same for many."""
        keys = [self.key(request) for request in requests]
        found = self.ledger.answers(keys)
        return [found.get(key) for key in keys]

    def settle(self, *requests: ChatRequest) -> None:
        """Find the richest dialect the endpoint understands, with requests that have to be sent.

        A dialect once found is kept in the ledger, if the request made use of all it names. Only a
        request that is rejected for its form is sent in a poorer one, and the next request only if
        the one before was rejected in every form or brought no text.

        Raises:
            LlmError: no dialect was accepted; the error is that of the first rejection.
            Stopped: see `answer`.
        """
        known = self.ledger.dialect(self.model.endpoint, self.model.model)
        if known or self.model.recorded:
            self.dialect = known or self.dialect
            self._is_settled_before = True
            return
        self._find_dialect(requests)

    def settle_again(self, error: LlmError, requests: Sequence[ChatRequest]) -> bool:
        """Find another dialect, once, where an endpoint rejects the one it understood before.

        Args:
            error: with which the first of the requests that failed did.
            requests: all that were sent, none of which was answered.

        Returns:
            Whether there is another; then the requests are to be sent again.

        Raises:
            LlmError: see `settle`.
            Stopped: see `answer`.
        """
        is_rejected = error.status_code in _REJECTED and self.num_answers == 0
        if not self._is_settled_before or not is_rejected or any(map(self.answered, requests)):
            return False
        self._is_settled_before = False
        self._find_dialect(requests)
        return True

    def answer(self, request: ChatRequest) -> Attempt:
        """Send a request until it is answered, with pauses after errors that may pass.

        Raises:
            LlmError: an error that stays, or too many that did not.
            Stopped: the cap is reached, or the endpoint asks for too long a wait.
        """
        return self._retrying(self._attempt_patiently, request)

    def stop(self, stop: Stopped) -> None:
        """Let no thread begin another attempt; those that try get the first reason."""
        self._stopped = self._stopped or stop

    def reserve_in_batch(self, request: ChatRequest) -> Charge:
        """Admit a request to a batch; returns the most it can cost there.

        Raises:
            Stopped: the cap leaves no room for it.
        """
        body = self.body(request)
        most = worst_case(body, self._price, batch=True, excess=self._excess)
        self._budget.admit(body, most)
        self.num_attempts += 1
        return most

    def settle_batch(self, outcomes: Sequence[tuple[Attempt, ChatReply | LlmError]]) -> None:
        """Record what attempts of a batch brought and cost; each must be in flight so far."""
        charged = []
        outcomes = [(attempt, self._outcome(attempt, brought)) for attempt, brought in outcomes]
        for attempt, outcome in outcomes:
            most = Charge(tokens=attempt.charged_tokens, usd=attempt.charged_usd)
            charged.append((most, actual(outcome, most, self._price, batch=True)))
        self.ledger.settle_together(
            (*each, real) for each, (_, real) in zip(outcomes, charged, strict=True)
        )
        for (attempt, outcome), (most, real) in zip(outcomes, charged, strict=True):
            self._budget.settle(most, real, is_certain=isinstance(outcome, ChatReply))
            self._note_excess(json.loads(attempt.request), outcome)
        self.num_answers += sum(isinstance(outcome, ChatReply) for _, outcome in outcomes)

    def _find_dialect(self, requests: Iterable[ChatRequest]) -> None:
        """See `settle`."""
        first: LlmError | None = None
        before, without_text = self.dialect, None
        for number, request in enumerate(islice(requests, _MAX_PROBES)):
            may_be_rejection = number == 0
            for dialect in ladder(request):
                self.dialect = dialect
                try:
                    answer = self.answered(request) or self.answer(request)
                except LlmError as error:
                    first = first or error
                    if error.status_code in _PERHAPS_REJECTED and may_be_rejection:
                        may_be_rejection = False
                    elif error.status_code not in _REJECTED:
                        self.dialect = before
                        raise (first if error.status_code in _PERHAPS_REJECTED else error) from None
                    continue
                if answer.status == "ok":
                    if request.reply_schema is not None and longest_reply(self.body(request)):
                        self.ledger.settle_dialect(self.model.endpoint, self.model.model, dialect)
                    return
                without_text = without_text or dialect
                break
        self.dialect = without_text or before
        if first and not without_text:
            raise first

    def _attempt_patiently(self, request: ChatRequest) -> Attempt:
        """`_attempt`, again while the endpoint has no room and does not say for how long."""
        retry = self._config.retry
        pause_s, since = retry.pause_s, None
        while True:
            try:
                return self._attempt(request)
            except LlmError as error:
                if error.status_code != 429 or not error.is_transient or error.retry_after_s:
                    raise
                now = time.monotonic()
                since = now if since is None else since
                if now - since >= retry.max_wait_s:
                    stop = Stopped(
                        f"LLM endpoint {self.model.endpoint} answers 429 since {now - since:.3g} "
                        f"s, max_wait_s={retry.max_wait_s:g}: {error.problem}"
                    )
                    self.stop(stop)
                    raise stop from None
            self._sleep(random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, retry.max_pause_s)

    def _attempt(self, request: ChatRequest) -> Attempt:
        body = self.body(request)
        with (
            self._limits.slot(likely_tokens(body), lambda: self._stopped is not None) as slot,
            self._room(body) as most,
        ):
            attempt = self._begin(request, most)
            sent_at = time.monotonic()
            try:
                reply = self.model.complete(request, self.dialect)
            except LlmError as error:
                outcome = self._outcome(attempt, error)
                if isinstance(outcome, LlmError):
                    self._failed(attempt, outcome, most, sent_at)
                    raise
                reply = outcome
            slot.end()
            charge = actual(reply, most, self._price)
            self.ledger.settle(attempt, reply, charge)
            self._budget.settle(most, charge)
            self._note_excess(body, reply)
            with self._lock:
                self.num_answers += 1
            return _answered(attempt, reply, charge)

    @contextmanager
    def _room(self, body: dict[str, Any]) -> Iterator[Charge]:
        """Wait for room under the cap: calls under way mostly turn out cheaper than reserved.

        The block gets what is reserved.

        Raises:
            Stopped: there is none and nothing is under way, or all have to stop.
        """
        with self._settled:
            while True:
                self._check_stopped()
                most = worst_case(body, self._price, excess=self._excess)
                try:
                    self._budget.admit(body, most)
                except Stopped as stop:
                    if not self._reserved:
                        self.stop(stop)
                        raise
                    self._settled.wait()
                else:
                    self._reserved += 1
                    break
        try:
            yield most
        finally:
            with self._settled:
                self._reserved -= 1
                self._settled.notify_all()

    def _begin(self, request: ChatRequest, most: Charge) -> Attempt:
        with self._lock:
            self.num_attempts += 1
        body = self._bodies.of(request, self.dialect)
        return self.ledger.begin(
            body.key,
            request.question,
            self.model.endpoint,
            self.model.model,
            body.text,
            most,
        )

    def _outcome(self, attempt: Attempt, brought: ChatReply | LlmError) -> ChatReply | LlmError:
        """What an attempt brought; no reply where too many billed answers could not be read."""
        if isinstance(brought, ChatReply) or brought.body is None:
            return brought
        earlier = self.ledger.attempts(attempt.request_key)
        unreadable = [each for each in earlier if each.status == "error" and each.reply is not None]
        if 1 + len(unreadable) < _UNREADABLE_ATTEMPTS:
            return brought
        return ChatReply(text=brought.body, status="no_reply")

    def _note_excess(self, body: dict[str, Any], outcome: ChatReply | LlmError) -> None:
        """Reserve more from now on if a reply was longer than it may be."""
        if isinstance(outcome, LlmError) or outcome.completion_tokens is None:
            return
        limit = longest_reply(body)
        if limit is None or outcome.completion_tokens <= limit * self._excess:
            return
        with self._lock:
            is_first = self._excess == 1.0
            self._excess = max(self._excess, outcome.completion_tokens / limit)
        if is_first:
            _LOG.warning(
                "LLM endpoint %s bills %d tokens for a reply limited to %d, and each call reserves "
                "as much more from now on; keep it in check with a smaller cap (max_tokens) and a "
                "smaller concurrency",
                self.model.endpoint,
                outcome.completion_tokens,
                limit,
            )

    def _failed(self, attempt: Attempt, error: LlmError, most: Charge, sent_at: float) -> None:
        wait_s, stop = error.retry_after_s, None
        if wait_s is not None and wait_s > self._config.retry.max_wait_s and error.is_transient:
            stop = Stopped(
                f"LLM endpoint {self.model.endpoint} asks to wait {wait_s:.6g} s, longer than "
                f"max_wait_s={self._config.retry.max_wait_s:g}"
            )
            self.stop(stop)  # before the row is written, which takes a while
        elif error.status_code == 429 or wait_s is not None:
            self._limits.hold_off(wait_s or 0.0, sent_at)
        charge = actual(error, most, self._price)
        self.ledger.settle(attempt, error, charge)
        self._budget.settle(most, charge, is_certain=False)
        if stop:
            raise stop from None

    def _check_stopped(self) -> None:
        if self._stopped:
            raise self._stopped

    def _sleep(self, seconds: float) -> None:
        """Pause, but not when everybody has to stop."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._stopped:
            time.sleep(min(left, 0.2))


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, LlmError) and error.is_transient


def _answered(attempt: Attempt, reply: ChatReply, charge: Charge) -> Attempt:
    return attempt.model_copy(
        update={
            "status": reply.status,
            "reply": reply.text,
            "finish_reason": reply.finish_reason,
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "duration_s": reply.duration_s,
            "charged_tokens": charge.tokens,
            "charged_usd": charge.usd,
        }
    )
