"""The loop every knowledge kind shares: requests -> replies -> valid replies, drops counted.

`ask` turns a question about a class list into the `llm_calls` artifact; `parse` reads the replies
of one. A kind adds what it asks and what its rows are (`knowledge.kinds`).
"""

from __future__ import annotations

import json
import random
import re
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ValidationError

from artifacts.provenance import Frozen, Provenance, canonical_hash, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from knowledge.datasets.class_lists import normalised
from knowledge.llm.ledger import ANSWERED, Ledger
from knowledge.llm.messages import ChatModel, ChatRequest, LlmError

Reply = TypeVar("Reply", bound=BaseModel)
Progress = Callable[[int, int], None]
"""Called with (done, total)."""

UNSEEN = "in flight when the process ended; possibly billed"
"""Error of an attempt whose outcome nobody saw."""

MAX_ATTEMPTS = 3
"""Attempts at a request in one run, while its errors are transient."""
RETRY_PAUSE_S = 1.0
"""Mean pause after the first attempt; it doubles after each further one."""

_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class ActionClass:
    """A row of the `classes` artifact."""

    class_id: int
    name: str
    prompt_name: str
    group: str
    is_base_75: bool
    is_base_50: bool


class Question(Frozen, ABC):
    """What a kind asks: the settings that decide its requests, and the requests."""

    kind: ClassVar[str]
    """Knowledge kind that asks."""

    @abstractmethod
    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """All requests about a class list, in a fixed order."""

    @property
    def question(self) -> Question:
        """The part of the settings that decides the requests."""
        return self


def read_classes(classes: Artifact) -> list[ActionClass]:
    """Classes of a `classes` artifact in id order."""
    rows = [ActionClass(**row) for row in classes.read().to_pylist()]
    return sorted(rows, key=lambda row: row.class_id)


def ask(
    store: Store,
    classes: Artifact,
    question: Question,
    model: ChatModel,
    ledger: Ledger | None,
    progress: Progress | None = None,
    max_workers: int = 8,
) -> Outcome:
    """Ask a question about every class and publish all attempts as `llm_calls`.

    The key covers the question's settings, every request's bytes, endpoint, model and class list,
    so an artifact found by key costs no call. Requests answered in the ledger are not sent, and of
    several processes with one ledger only one asks at a time. A request is repeated after transient
    errors. One that fails does not stop the others, but as many failures in a row as there are
    workers do; then nothing is published.

    Args:
        store: where to look and publish.
        classes: the `classes` artifact asked about.
        question: what to ask.
        model: who answers.
        ledger: keeps every attempt; None only for recorded replies, which need none.
        progress: called with (answered, all) requests.
        max_workers: requests in flight at a time.

    Returns:
        The artifact; `work` counts attempts made now, as `llm_calls` or `recorded_replies`, and
        `llm_replies_reused`.

    Raises:
        LlmError: a request got no usable answer; what was answered stays in the ledger.
        ValueError: two requests are equal, or the ledger is missing.
    """
    if ledger is None and not model.recorded:
        raise ValueError(f"endpoint {model.endpoint}: replies cost money, so asking needs a ledger")
    question = question.question
    requests = _by_key(question.requests(read_classes(classes)), model)
    provenance = Provenance(
        kind="llm_calls",
        name=f"{classes.ref.name}-{question.kind}",
        config={
            "question": question.kind,
            "settings": question.model_dump(mode="json"),
            "endpoint": model.endpoint,
            "model": model.model,
            "requests": canonical_hash(list(requests)),
        },
        inputs=dict(inputs_of(classes=classes)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    with ExitStack() as stack:
        if ledger is None or model.recorded:
            ledger = stack.enter_context(Ledger(None))
        else:
            stack.enter_context(ledger.exclusive())
            if found := store.find(provenance):  # made by whoever was waited for
                return Outcome(found, made=False)
        sent = _send(requests, model, ledger, progress, max_workers)
        rows = list(_rows(requests, model, ledger))
        table = pa.Table.from_pylist(rows, schema=schema_of("llm_calls").arrow())
        artifact = store.publish(provenance, table, _report(rows, len(requests)))
    made = "recorded_replies" if model.recorded else "llm_calls"
    work = {made: sent.attempts, "llm_replies_reused": sent.reused}
    return Outcome(artifact, made=True, work=work)


@dataclass(frozen=True)
class ParsedReply(Generic[Reply]):
    """One valid reply."""

    class_id: int
    group: str
    round: int
    reply: Reply


@dataclass(frozen=True)
class Parsed(Generic[Reply]):
    """The valid replies of an `llm_calls` artifact, in its order."""

    replies: list[ParsedReply[Reply]]
    num_requests: int
    drops: Counter[str]
    """Requests without a valid reply, by reason."""


def parse(calls: Artifact, reply_type: type[Reply]) -> Parsed[Reply]:
    """Read the replies to one question.

    A reply counts only if it is whole: one that ran into the token limit is dropped as `truncated`,
    never repaired, since what it left out would read as a no. JSON inside one code fence is
    accepted. Other reasons: no_reply, refusal, empty, not_json (also repeated keys and NaN),
    wrong_form.
    """
    replies: list[ParsedReply[Reply]] = []
    drops: Counter[str] = Counter()
    rows = [row for row in calls.read().to_pylist() if row["status"] in ANSWERED]
    for row in rows:
        try:
            reply = _read_reply(row, reply_type)
        except _Drop as drop:
            drops[str(drop)] += 1
        else:
            replies.append(ParsedReply(row["class_id"], row["group"], row["round"], reply))
    return Parsed(replies, len(rows), drops)


def check_calls(calls: Artifact, classes: Artifact, question: Question) -> None:
    """Accept the replies to exactly this question about exactly this class list.

    Raises:
        ValueError: they answer another question, other settings or another class list.
    """
    config = calls.manifest.config
    question = question.question
    asked_about = calls.manifest.inputs.get("classes")
    wrong = None
    if config.get("question") != question.kind:
        wrong = f"answers {config.get('question')!r}, not {question.kind!r}"
    elif config.get("settings") != question.model_dump(mode="json"):
        wrong = "was asked with other settings"
    elif asked_about is None or asked_about.content_hash != classes.manifest.content_hash:
        wrong = f"was asked about another class list than {classes.ref}"
    if wrong:
        raise ValueError(f"{calls.ref} {wrong}; extract again with these settings and classes")


class Vocabulary:
    """Finds the class a reply names: exact spelling first, then `normalised`, never by likeness."""

    def __init__(self, spellings: Mapping[int, Iterable[str]]) -> None:
        """Index the accepted spellings of each class id."""
        self._exact: dict[str, int] = {}
        folded: dict[str, set[int]] = {}
        for class_id, names in spellings.items():
            for name in names:
                self._exact.setdefault(name, class_id)
                folded.setdefault(normalised(name), set()).add(class_id)
        self._folded = {name: ids.pop() for name, ids in folded.items() if len(ids) == 1}

    def find(self, name: str) -> int | None:
        """Class id of a name; None for an invention or a name that fits several classes."""
        return self._exact.get(name, self._folded.get(normalised(name)))

    def match(self, names: Iterable[str]) -> tuple[list[int], Counter[str]]:
        """Class ids in the order named, each once, and what was left out: invented, duplicate."""
        found: dict[int, None] = {}
        drops: Counter[str] = Counter()
        for name in names:
            class_id = self.find(name)
            if class_id is None:
                drops["invented"] += 1
            elif class_id in found:
                drops["duplicate"] += 1
            else:
                found[class_id] = None
        return list(found), drops


@dataclass
class _Sent:
    attempts: int = 0
    reused: int = 0
    answered: int = 0


def _send(
    requests: Mapping[str, ChatRequest],
    model: ChatModel,
    ledger: Ledger,
    progress: Progress | None,
    max_workers: int,
) -> _Sent:
    """Send what is not answered; raises the first failure once nothing more can be done."""
    todo = [request for key, request in requests.items() if ledger.answered(key) is None]
    waiting = iter(todo)
    reused = len(requests) - len(todo)
    sent = _Sent(reused=reused, answered=reused)
    running: set[Future[tuple[int, LlmError | None]]] = set()
    failure: LlmError | None = None
    failures_in_a_row = 0
    with ThreadPoolExecutor(max_workers) as pool:
        while True:
            while len(running) < max_workers and failures_in_a_row < max_workers:
                request = next(waiting, None)
                if request is None:
                    break
                running.add(pool.submit(_answer, ledger, model, request))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                attempts, error = future.result()
                sent.attempts += attempts
                if error:
                    failure = failure or error
                    failures_in_a_row += 1
                else:
                    failures_in_a_row = 0
                    sent.answered += 1
                    if progress:
                        progress(sent.answered, len(requests))
    if failure:
        _fail_unfinished(failure, sent, len(requests))
    return sent


def _answer(ledger: Ledger, model: ChatModel, request: ChatRequest) -> tuple[int, LlmError | None]:
    """Attempts made until a request was answered or given up, and why it was given up."""
    attempt = 0
    while True:
        attempt += 1
        try:
            ledger.send(model, request)
        except LlmError as error:
            if not error.is_transient or attempt == MAX_ATTEMPTS:
                return attempt, error
            time.sleep(RETRY_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        else:
            return attempt, None


def _fail_unfinished(failure: LlmError, sent: _Sent, num_requests: int) -> NoReturn:
    raise LlmError(
        failure.endpoint,
        f"{sent.answered} of {num_requests} requests are answered and kept; {failure.problem}",
        f"{failure.remedy}, then the same command goes on from there",
        failure.status_code,
    ) from None


def _by_key(requests: Sequence[ChatRequest], model: ChatModel) -> dict[str, ChatRequest]:
    keyed: dict[str, ChatRequest] = {}
    for request in requests:
        key = request.key(model.endpoint, model.model)
        other = keyed.setdefault(key, request)
        if other is not request:
            raise ValueError(
                f"classes {other.class_id} ({other.class_name!r}) and {request.class_id} "
                f"({request.class_name!r}) lead to the same question; give them distinct names"
            )
    if not keyed:
        raise ValueError("the class list leads to no question; it needs at least two classes")
    return keyed


def _rows(
    requests: Mapping[str, ChatRequest], model: ChatModel, ledger: Ledger
) -> Iterator[dict[str, Any]]:
    for key, request in requests.items():
        for attempt in ledger.attempts(key):
            row = attempt.model_dump() | {
                "question": request.question,
                "class_id": request.class_id,
                "group": request.group,
                "round": request.round,
            }
            if attempt.status == "in_flight":
                row |= {"status": "error", "error": UNSEEN}
            if model.recorded:
                row |= {"sent_at": None, "duration_s": None}
            yield row


def _report(rows: Sequence[Mapping[str, Any]], num_requests: int) -> dict[str, Any]:
    return {
        "requests": num_requests,
        "attempts": len(rows),
        "statuses": dict(sorted(Counter(row["status"] for row in rows).items())),
        "possibly_billed": sum(row["error"] == UNSEEN for row in rows),
        "prompt_tokens": sum(row["prompt_tokens"] or 0 for row in rows),
        "completion_tokens": sum(row["completion_tokens"] or 0 for row in rows),
    }


class _Drop(Exception):  # noqa: N818
    """Why a reply does not count."""


def _read_reply(row: Mapping[str, Any], reply_type: type[Reply]) -> Reply:
    if row["status"] != "ok":
        raise _Drop(row["status"])
    if row["finish_reason"] == "length":
        raise _Drop("truncated")
    text = (row["reply"] or "").strip()
    if not text:
        raise _Drop("empty")
    fenced = _FENCED.findall(text)
    if len(fenced) == 1:
        text = fenced[0]
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _Drop("not_json") from error
    try:
        return reply_type.model_validate(value)
    except ValidationError as error:
        raise _Drop("wrong_form") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
