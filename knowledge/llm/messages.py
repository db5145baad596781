"""What is asked of an LLM, what comes back, and the protocol of whoever answers."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from pydantic import Field

from artifacts.provenance import Frozen, canonical_hash


class Message(Frozen):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Sampling(Frozen):
    """How the endpoint draws its reply; what is None is left to the endpoint."""

    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    """Longest reply; a reply that reaches it is dropped as truncated."""


class ChatRequest(Frozen):
    """One question about one class."""

    question: str
    """Knowledge kind that asks."""
    class_id: int
    class_name: str
    """The dataset's own spelling; messages may spell it otherwise."""
    group: str = ""
    """Group of the candidates; empty where the question has none."""
    candidates: tuple[str, ...] = ()
    """Names the reply may hold, in the order asked; empty where the question has none."""
    round: int = Field(1, ge=1)
    """Independent repetition."""
    messages: tuple[Message, ...]
    reply_schema: dict[str, Any] | None = None
    """JSON schema the endpoint is asked to enforce."""
    sampling: Sampling = Sampling()

    def body(self, model: str) -> dict[str, Any]:
        """The exact body of the chat completions request."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [message.model_dump() for message in self.messages],
            **self.sampling.model_dump(exclude_none=True),
        }
        if self.reply_schema is not None:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": self.question,
                    "strict": True,
                    "schema": self.reply_schema,
                },
            }
        return body

    def key(self, endpoint: str, model: str) -> str:
        """SHA-256 (hex) of endpoint, body and round: equal keys are the same paid question."""
        return canonical_hash({"endpoint": endpoint, "body": self.body(model), "round": self.round})


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
    ) -> None:
        """Describe the failure.

        Args:
            endpoint: base URL that was asked.
            problem: what happened.
            remedy: what the user can do.
            status_code: HTTP status where the endpoint sent one.
            is_transient: whether the same request may well succeed a little later.
        """
        super().__init__(" ".join(f"LLM endpoint {endpoint}: {problem}; {remedy}".split()))
        self.endpoint = endpoint
        self.problem = problem
        self.remedy = remedy
        self.status_code = status_code
        self.is_transient = is_transient


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

    def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request.

        Raises:
            LlmError: no usable answer came.
        """
