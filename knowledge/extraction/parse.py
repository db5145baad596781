"""From raw replies to what they say, with every drop counted by reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, cast

from artifacts.artifact import Artifact
from knowledge.extraction.question import Question, read_answer
from knowledge.extraction.replies import Reply, Unusable


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
    num_reasks: int
    """Questions put again after an unusable reply."""
    repeated: float | None
    """Share of rounds, from the second on, whose reply is one of an earlier round's to the same
    class and group; None without a second round."""


def parse(calls: Artifact, question: Question, reply_type: type[Reply]) -> Parsed[Reply]:
    """Read the replies (of `question.reply_type`, which is `reply_type`) to one question.

    Of a question put again, the last reply counts.

    See `knowledge.extraction.replies` for the reasons of drops; `invalid` is what
    `question.problem` objects to.
    """
    last: dict[tuple[int, str, int], dict[str, Any]] = {}
    rows = calls.read().to_pylist()
    for row in rows:
        last[row["class_id"], row["group"], row["round"]] = row
    replies: list[ParsedReply[Reply]] = []
    drops: Counter[str] = Counter()
    for row in last.values():
        try:
            reply = read_answer(question, row["reply"], row["status"], row["finish_reason"])
        except Unusable as unusable:
            drops[unusable.reason] += 1
        else:
            asked = (row["class_id"], row["group"], row["round"])
            replies.append(ParsedReply(*asked, cast(Reply, reply)))
    num_reasks = sum(row["reask"] > 0 for row in rows)
    return Parsed(replies, len(last), drops, num_reasks, _repeated(replies))


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


def check_coverage(calls: Artifact, num_answered: int, num_classes: int, least: float) -> None:
    """Let knowledge pass only if enough classes were answered usably.

    Raises:
        ValueError: fewer; the replies stay in `calls`.
    """
    if num_classes and num_answered / num_classes < least:  # least * num_classes would be inexact
        raise ValueError(
            f"{calls.ref}: usable replies for {num_answered} of {num_classes} classes, "
            f"{num_answered / num_classes:.1%}, and {least:.1%} are wanted, so nothing was "
            "published; what was paid for is kept. Ask another model or lower min_coverage"
        )


def _repeated(replies: Iterable[ParsedReply[Any]]) -> float | None:
    """Share of later rounds that repeat an earlier one."""
    seen: dict[tuple[int, str], list[Any]] = defaultdict(list)
    again: list[bool] = []
    for each in replies:
        earlier = seen[each.class_id, each.group]
        if earlier:
            again.append(each.reply in earlier)
        earlier.append(each.reply)
    return sum(again) / len(again) if again else None
