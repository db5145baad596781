"""What is asked of an LLM, what comes back, and the protocol of whoever answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import Field

from artifacts.frozen import Frozen
from artifacts.provenance import canonical_json


class Message(Frozen):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Frozen):
    """How the endpoint draws its reply; what is None is left to the endpoint."""

    temperature: float | None = Field(None, ge=0)
    """0 is the most likely reply; if omitted the endpoint's own."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Share of the likeliest tokens that is drawn from; if omitted the endpoint's own."""
    max_completion_tokens: int | None = Field(None, ge=1)
    """Longest reply; a reply that reaches it is dropped as truncated."""


class Dialect(Frozen):
    """The variant of the protocol that an endpoint accepts; it decides a request's bytes."""

    response_format: Literal["json_schema", "json_object", "text"] = "json_schema"
    """How the reply's form is asked for: enforced by schema, as any JSON, or by words alone."""
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """Name of the longest reply's field."""


class ChatRequest(Frozen):
    """One question about one class."""

    question: str
    """Knowledge kind that asks."""
    class_id: int
    class_name: str
    """The dataset's own spelling; messages may spell it otherwise."""
    group: str = ""
    """Group of the candidates, or id of the prompt; empty where the question has neither."""
    candidates: tuple[str, ...] = ()
    """Names the reply may hold, in the order asked; empty where the question has none."""
    round: int = Field(1, ge=1)
    """Independent repetition."""
    reask: int = Field(0, ge=0)
    """How often the question was put again after an unusable reply."""
    messages: tuple[Message, ...]
    reply_schema: dict[str, Any] | None = None
    """JSON schema the endpoint is asked to enforce."""
    sampling: Sampling = Sampling()

    def body(self, model: str, dialect: Dialect) -> dict[str, Any]:
        """The exact body of the chat completions request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": each.role, "content": each.content} for each in self.messages],
        }
        for name, value in self.sampling:
            if value is not None:
                body[dialect.limit if name == "max_completion_tokens" else name] = value
        if self.reply_schema is None or dialect.response_format == "text":
            return body
        body["response_format"] = {"type": dialect.response_format}
        if dialect.response_format == "json_schema":
            body["response_format"]["json_schema"] = {
                "name": self.question,
                "strict": True,
                "schema": self.reply_schema,
            }
        return body


def ladder(request: ChatRequest) -> Iterator[Dialect]:
    """Dialects in which a request differs, richest first."""
    seen = []
    for limit in ("max_completion_tokens", "max_tokens"):
        for form in ("json_schema", "json_object", "text"):
            dialect = Dialect.model_validate({"response_format": form, "limit": limit})
            body = request.body("", dialect)
            if body not in seen:
                seen.append(body)
                yield dialect


def request_key(endpoint: str, body: Mapping[str, Any], round_number: int) -> str:
    """SHA-256 (hex) of endpoint, body and round: equal keys are the same paid question."""
    return _key_of(endpoint, canonical_json(body), round_number)


def _key_of(endpoint: str, body: str, round_number: int) -> str:
    """The same of a body that is canonical JSON already."""
    text = f'{{"body":{body},"endpoint":{canonical_json(endpoint)},"round":{round_number}}}'
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A request as one model at one endpoint is asked it in one dialect."""

    request: ChatRequest
    dialect: Dialect
    text: str
    """The body as canonical JSON."""
    key: str
    """See `request_key`."""


class RequestBodies:
    """Bodies of requests for one model, each made once."""

    def __init__(self, endpoint: str, model: str) -> None:
        self._endpoint = endpoint
        self._model = model
        self._kept: dict[int, RequestBody] = {}
        """By identity of the request; holding the request keeps the identity its own."""

    def of(self, request: ChatRequest, dialect: Dialect) -> RequestBody:
        """The body of a request and its key."""
        kept = self._kept.get(id(request))
        if kept is None or (kept.dialect is not dialect and kept.dialect != dialect):
            body = canonical_json(request.body(self._model, dialect))
            key = _key_of(self._endpoint, body, request.round)
            kept = self._kept[id(request)] = RequestBody(request, dialect, body, key)
        return kept


class ChatReply(Frozen):
    """What an endpoint answered."""

    text: str | None
    """Raw text of the reply, or of the refusal."""
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    status: Literal["ok", "no_reply", "refusal"] = "ok"
    duration_s: float | None = None
    """Time to the reply; None for recorded replies."""


class LlmError(ValueError):
    """A request that got no usable answer; the message is one line without secrets."""

    def __init__(
        self,
        endpoint: str,
        problem: str,
        remedy: str,
        status_code: int | None = None,
        *,
        is_transient: bool = False,
        retry_after_s: float | None = None,
        body: str | None = None,
    ) -> None:
        """Describe the failure.

        Args:
            endpoint: base URL that was asked.
            problem: what happened.
            remedy: what the user can do.
            status_code: HTTP status where the endpoint sent one.
            is_transient: whether the same request may well succeed a little later.
            retry_after_s: how long the endpoint asks to wait.
            body: of an answer that was billed and cannot be read, without secrets.
        """
        super().__init__(" ".join(f"LLM endpoint {endpoint}: {problem}; {remedy}".split()))
        self.endpoint = endpoint
        self.problem = problem
        self.remedy = remedy
        self.status_code = status_code
        self.is_transient = is_transient
        self.retry_after_s = retry_after_s
        self.body = body

    @property
    def may_be_billed(self) -> bool:
        """Whether the endpoint may have worked for it: a refused request (4xx) costs nothing."""
        return self.status_code is None or not 400 <= self.status_code < 500


class Stopped(RuntimeError):  # noqa: N818
    """A halt before the work is done that is no failure: the same command goes on from there."""


class ChatModel(Protocol):
    """Whoever answers requests; `complete` is called from several threads."""

    @property
    def endpoint(self) -> str:
        """Base URL, or `recorded`."""

    @property
    def model(self) -> str:
        """Model that is asked."""

    @property
    def recorded(self) -> bool:
        """Whether replies are free and always the same: then no ledger and no times are kept."""

    def complete(self, request: ChatRequest, dialect: Dialect) -> ChatReply:
        """Answer one request.

        Raises:
            LlmError: no usable answer came.
        """
