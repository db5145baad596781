"""What a knowledge kind asks: settings, requests, the form of a reply, and when to ask again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from artifacts.artifact import Artifact
from artifacts.frozen import Frozen
from knowledge.extraction.replies import Unusable, read_reply
from knowledge.llm.ledger.ledger import Attempt
from knowledge.llm.messages import ChatRequest, Message, Sampling

MAX_REASKS = 2
"""How often a question is put again after an unusable reply."""
MAX_COMPLETION_TOKENS = 1000
"""Longest reply the kinds ask for; reasoning models need more."""


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
    reply_type: ClassVar[type[BaseModel]]
    """Form of a reply."""

    sampling: Sampling = Sampling(max_completion_tokens=MAX_COMPLETION_TOKENS)
    """How replies are drawn."""

    @abstractmethod
    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """All requests about a class list, in a fixed order."""

    @property
    def question(self) -> Question:
        """The part of the settings that decides the requests."""
        return self

    @property
    def needs_videos(self) -> bool:
        """Whether `build` counts the training labels of the dataset's videos."""
        return False

    def problem(self, reply: Any) -> str | None:
        """What makes a well-formed reply (of `reply_type`) unusable, told to the LLM; or None."""
        return None

    def waves(self, requests: Sequence[ChatRequest]) -> list[Sequence[ChatRequest]]:
        """Requests that may be sent together; `still_open` is asked between two waves."""
        return [requests]

    def still_open(self, request: ChatRequest, earlier: Sequence[Any]) -> bool:
        """Whether a request has to be sent after the valid replies of its class and group."""
        return True


def read_action_classes(classes: Artifact) -> list[ActionClass]:
    """Classes of a `classes` artifact in id order."""
    rows = [ActionClass(**row) for row in classes.read().to_pylist()]
    return sorted(rows, key=lambda row: row.class_id)


def read_answer(
    question: Question, text: str | None, status: str, finish_reason: str | None
) -> BaseModel:
    """A reply that has the form and meets the demands of a question.

    Raises:
        Unusable: see `knowledge.extraction.replies.read_reply`; also `invalid`, what the kind
            objects to.
    """
    reply = read_reply(text, status, finish_reason, question.reply_type)
    if problem := question.problem(reply):
        raise Unusable("invalid", problem)
    return reply


def follow_up(question: Question, request: ChatRequest, answer: Attempt) -> ChatRequest | None:
    """The request that puts a question again after an unusable reply; None if none does.

    What was cut off is asked for with twice the room, everything else with what was wrong.
    """
    try:
        read_answer(question, answer.reply, answer.status, answer.finish_reason)
    except Unusable as caught:
        unusable = caught
    else:
        return None
    if request.reask == MAX_REASKS or unusable.reason in ("no_reply", "refusal"):
        return None
    again: dict[str, Any] = {"reask": request.reask + 1}
    if unusable.reason == "truncated":
        sampling = request.sampling
        if sampling.max_completion_tokens is None:
            return None
        longer = {"max_completion_tokens": 2 * sampling.max_completion_tokens}
        again["sampling"] = sampling.model_copy(update=longer)
    else:
        complaint = f"That answer cannot be used: {unusable.detail}. Answer again, in full."
        again["messages"] = (
            *request.messages,
            Message(role="assistant", content=answer.reply or "(nothing)"),
            Message(role="user", content=complaint),
        )
    return request.model_copy(update=again)
