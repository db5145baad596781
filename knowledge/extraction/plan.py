"""What an extraction would send and cost, without sending anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from artifacts.artifact import Artifact
from artifacts.store import Store
from knowledge.extraction.calls import CallsOrigin
from knowledge.extraction.question import Question, follow_up, read_action_classes
from knowledge.llm.batch.held import held_in_batches
from knowledge.llm.budget import (
    CHARACTERS_PER_TOKEN,
    Charge,
    Price,
    load_prices,
    longest_reply,
    worst_case,
)
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import ChatModel, ChatRequest
from knowledge.llm.options import AskingOptions, Cap
from knowledge.llm.sender import Sender

LIKELY_SHARE = 0.1
"""Length of a reply in the estimate, as a share of the longest, while no reply is known."""


@dataclass(frozen=True)
class Plan:
    """One question's calls and what they may cost.

    Questions put again after unusable replies come on top, as do repetitions after errors; a cap
    holds against all of them.
    """

    kind: str
    num_requests: int
    num_kept: int
    """Answers that the store or the ledger holds; a question that will be put again counts here,
    and its next form among the calls."""
    num_in_batch: int
    """Requests that an open batch holds; they are charged already."""
    num_calls: int
    likely: Charge
    """Prompts at four characters a token, replies as long as the known ones are on average."""
    most: Charge
    """No token shorter than a byte, every reply of full length."""


def plan(
    store: Store,
    classes: Artifact,
    question: Question,
    model: ChatModel,
    ledger: Ledger,
    config: AskingOptions,
) -> Plan:
    """Count the calls that `extraction.ask` would make; with early stop, the most it would make.

    Raises:
        ValueError: the class list leads to no request.
    """
    question = question.question
    requests = question.requests(read_action_classes(classes))
    if CallsOrigin(classes, question, model, requests).find(store, ledger):
        return Plan(question.kind, len(requests), len(requests), 0, 0, Charge(), Charge())
    price = load_prices(config.prices).of(model.endpoint, model.model)
    sender = Sender(model, ledger, config.send.model_copy(update={"cap": Cap()}), price)
    sender.dialect = ledger.dialect(model.endpoint, model.model) or sender.dialect
    lengths: list[int] = []
    following = list(_open(question, requests, sender, lengths))
    batches = held_in_batches(ledger, model.endpoint, model.model)
    held = frozenset[str]().union(*(keys for _, keys in batches))
    calls = [each for each in following if sender.key(each) not in held]
    batch = config.batch is not None
    most = [worst_case(sender.body(each), price, batch=batch) for each in calls]
    likely = [_likely(sender, each, price, lengths, batch) for each in calls]
    return Plan(
        kind=question.kind,
        num_requests=len(requests),
        num_kept=len(requests) - sum(each.reask == 0 for each in following),
        num_in_batch=len(following) - len(calls),
        num_calls=len(calls),
        likely=_total(likely),
        most=_total(most),
    )


def _open(
    question: Question, requests: Sequence[ChatRequest], sender: Sender, lengths: list[int]
) -> Iterator[ChatRequest]:
    """The next request of every question that is not settled; known reply lengths to `lengths`."""
    for request in requests:
        following: ChatRequest | None = request
        while following and (answer := sender.answered(following)):
            if answer.completion_tokens is not None:
                lengths.append(answer.completion_tokens)
            following = follow_up(question, following, answer)
        if following:
            yield following


def _likely(
    sender: Sender, request: ChatRequest, price: Price | None, lengths: list[int], batch: bool
) -> Charge:
    body = sender.body(request)
    prompt = round(sum(len(m["content"]) for m in body["messages"]) / CHARACTERS_PER_TOKEN)
    unknown = LIKELY_SHARE * (longest_reply(body) or 0)
    reply = round(sum(lengths) / len(lengths) if lengths else unknown)
    usd = None if price is None else price.usd(prompt, reply, batch=batch)
    return Charge(tokens=prompt + reply, usd=usd)


def _total(charges: Sequence[Charge]) -> Charge:
    unknown = any(each.usd is None for each in charges)
    usd = None if unknown else sum(each.usd or 0.0 for each in charges)
    return Charge(tokens=sum(each.tokens for each in charges), usd=usd)
