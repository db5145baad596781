"""The job every knowledge kind shares: requests to an LLM, its replies as `llm_calls`.

`ask` turns a question about a class list into the `llm_calls` artifact; `parse` reads the replies
of one. A kind adds what it asks and what its rows are (`knowledge.extraction.kinds`).
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, canonical_hash, inputs_of
from artifacts.store import Store
from knowledge.extraction.asking import AskRun
from knowledge.extraction.question import Question, read_action_classes
from knowledge.llm.budget import Price, PriceTable, load_prices
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import ChatModel, ChatRequest, Dialect, RequestBodies, ladder
from knowledge.llm.options import AskingOptions
from knowledge.llm.sender import Sender

_LOG = logging.getLogger(__name__)
_RICHEST = Dialect()


def ask(
    store: Store,
    classes: Artifact,
    question: Question,
    model: ChatModel,
    ledger: Ledger | None,
    progress: Progress | None = None,
    config: AskingOptions | None = None,
) -> Outcome:
    """Ask a question about every class and publish the answers as `llm_calls`.

    The key covers the question's settings, every request's bytes, endpoint, model and class list,
    so an artifact found by key costs no call. Requests answered in the ledger are not sent, and of
    several processes with one ledger only one asks at a time. One request that fails does not stop
    the others, but as many failures in a row as may be in flight, and at least five, do; then
    nothing is published.
    An unusable reply is asked about again, with what is wrong, `MAX_REASKS` times. The rows depend
    on the replies alone, not on how often, when or after how many failures they came: that is in
    the report, and attempt by attempt in the ledger.

    Args:
        store: where to look and publish.
        classes: the `classes` artifact asked about.
        question: what to ask.
        model: who answers.
        ledger: keeps every attempt; None only for recorded replies, which need none.
        progress: called with (answered, all) requests.
        config: limits, retries, budget and prices; the defaults when None.

    Returns:
        The artifact; `work` counts attempts made now, as `llm_calls` or `recorded_replies`, and
        `llm_replies_reused` the rows whose attempt was made before. If another process published
        the artifact meanwhile, it is that one.

    Raises:
        LlmError: a request got no usable answer; what was answered stays in the ledger.
        Stopped: the cap is reached, the endpoint asks for a long wait or another process asks with
            this ledger; the same.
        ValueError: there is no request or two are equal, the ledger is missing, or a cap cannot be
            kept.
    """
    if ledger is None and not model.recorded:
        raise ValueError(f"endpoint {model.endpoint}: replies cost money, so asking needs a ledger")
    config = config or AskingOptions()
    question = question.question
    requests = question.requests(read_action_classes(classes))
    origin = CallsOrigin(classes, question, model, requests)
    if found := origin.find(store, ledger):
        return Outcome(found, made=False)
    with ExitStack() as stack:
        if ledger is None or model.recorded:
            ledger = stack.enter_context(Ledger(None))
        else:
            in_batches = " in batches" if config.batch else ""
            stack.enter_context(
                ledger.exclusive(f"asks {model.model} at {model.endpoint}{in_batches}")
            )
            if found := origin.find(store, ledger):  # made by whoever was waited for
                return Outcome(found, made=False)
        prices = load_prices(config.prices)
        price = prices.of(model.endpoint, model.model)
        started = time.monotonic()
        sender = Sender(model, ledger, config.send, price, origin.bodies)
        begun_before = ledger.begun
        ask_run = AskRun(
            question, sender, config.send.limits.concurrency, progress, len(requests), config.batch
        )
        with ask_run.errors_with_progress():
            first, *later = question.waves(requests)
            ask_run.start(first)
            for wave in later:
                ask_run.run(wave)
        duration_s = time.monotonic() - started
        rows = list(ask_run.rows(requests))
        table = pa.Table.from_pylist(rows, schema=schema_of("llm_calls").arrow())
        report = ask_run.report(requests, duration_s) | _cost(prices, price)
        artifact, is_made = _publish(store, origin.provenance(sender.dialect), table, report)
        begun = ledger.begun - begun_before
    made = "recorded_replies" if model.recorded else "llm_calls"
    answers = [answer for request in requests for _, answer in ask_run.chain(request)]
    num_reused = sum((each.request_key, each.attempt) not in begun for each in answers)
    work = {made: sender.num_attempts, "llm_replies_reused": num_reused}
    return Outcome(artifact, made=is_made, work=work)


@dataclass(frozen=True)
class CallsOrigin:
    """What the replies to a question come from, whatever dialect the endpoint speaks.

    Raises:
        ValueError: there is no request.
    """

    classes: Artifact
    question: Question
    model: ChatModel
    requests: Sequence[ChatRequest]

    def __post_init__(self) -> None:
        if not self.requests:
            raise ValueError(
                f"{self.classes.ref}: its {self.classes.manifest.num_rows} classes lead to no "
                f"{self.question.kind} question; give at least two classes that go together"
            )

    def find(self, store: Store, ledger: Ledger | None) -> Artifact | None:
        """The artifact, if it was made; without a ledger that knows the dialect, in any of them."""
        known = ledger.dialect(self.model.endpoint, self.model.model) if ledger else None
        for dialect in [known] if known else ladder(self.requests[0]):
            if found := store.find(self.provenance(dialect)):
                return found
        return None

    def provenance(self, dialect: Dialect) -> Provenance:
        """What decides the replies.

        Raises:
            ValueError: two requests are equal.
        """
        return Provenance(
            kind="llm_calls",
            name=f"{self.classes.ref.name}-{self.question.kind}",
            config={
                "question": self.question.kind,
                "settings": self.question.model_dump(mode="json"),
                "endpoint": self.model.endpoint,
                "model": self.model.model,
                "dialect": dialect.model_dump(mode="json"),
                "requests": self._digest,
            },
            inputs=dict(inputs_of(classes=self.classes)),
        )

    @cached_property
    def bodies(self) -> RequestBodies:
        """Bodies of the requests, each made when it is first needed."""
        return RequestBodies(self.model.endpoint, self.model.model)

    @cached_property
    def _digest(self) -> str:
        """SHA-256 over the requests' keys in the richest dialect; the dialect is named beside."""
        return canonical_hash(list(self._by_key()))

    def _by_key(self) -> dict[str, ChatRequest]:
        keyed: dict[str, ChatRequest] = {}
        for request in self.requests:
            other = keyed.setdefault(self.bodies.of(request, _RICHEST).key, request)
            if other is not request:
                raise ValueError(
                    f"classes {other.class_id} ({other.class_name!r}) and {request.class_id} "
                    f"({request.class_name!r}) lead to the same question; give them distinct names"
                )
        return keyed


def _publish(
    store: Store, provenance: Provenance, table: pa.Table, report: dict[str, Any]
) -> tuple[Artifact, bool]:
    """Publish, unless another process did (with another ledger); whether it was published here."""
    with closing(store.draft(provenance)) as draft:  # while it is held, nobody else publishes
        found = store.find(provenance)
        if found is None:
            draft.write(table)
            return draft.publish(report), True
        shutil.rmtree(draft.directory)
    _LOG.warning(
        "%s was published by another process meanwhile and is used; the replies asked here are "
        "kept in the ledger alone, so use one ledger for a store",
        found.ref,
    )
    return found, False


def _cost(prices: PriceTable, price: Price | None) -> dict[str, Any]:
    return {"prices": {"version": prices.version, "sha256": prices.sha256}} if price else {}
