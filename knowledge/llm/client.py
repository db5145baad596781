"""Any OpenAI-compatible chat completions endpoint, through the openai client.

Chat completions take the openai client's headers, but not its way of building a request, sending it
and reading the response, which at many calls a second is most of the work (see `connections`).

One call is one attempt: the client's own retries are off, because a timed-out call may have been
billed and whoever repeats it has to record that (`knowledge.llm.sender`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from knowledge.llm.connections import Connections, Unreached, unreached
from knowledge.llm.messages import ChatReply, ChatRequest, Dialect, LlmError
from knowledge.llm.options import DEADLINE_S, TIMEOUT_S

Result = TypeVar("Result")
_SHOWN_CHARACTERS = 200
_MIN_SECRET_LENGTH = 6
_NO_KEY = "not-needed"
_TRANSIENT = (408, 409, 429)
"""Statuses below 500 after which the same request may succeed."""
_REMEDIES = {
    400: "check the model name",
    401: "check the API key",
    402: "check the account's credit",
    403: "check the API key and what it may use",
    404: "check the base URL (it usually ends in /v1) and the model name",
    429: "wait, or ask with fewer requests in flight",
}
_NO_CREDIT = "insufficient_quota"
"""Code of a 429 that no waiting mends."""
_FILTERED = ("content_filter", "content_policy_violation")
"""Codes of a 400 with which an endpoint refuses what a request says, not how."""


class NotSentError(LlmError):
    """A request that never left, because no connection was made."""

    @property
    def may_be_billed(self) -> bool:
        """False: the endpoint never saw it."""
        return False


class OpenAiChat:
    """A model behind a base URL; safe to use from several threads."""

    recorded = False

    def __init__(
        self,
        endpoint: str,
        model: str,
        api_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Connect lazily; nothing is sent yet.

        Args:
            endpoint: base URL, such as `https://api.openai.com/v1`.
            model: model to ask.
            api_key: key sent with each request; None for endpoints without keys.
            timeout_s: longest silence of the endpoint.
            deadline_s: longest time to the end of a reply, however it trickles in.

        Raises:
            ValueError: not an http(s) URL, or one that holds a password or query, which would be
            recorded; or a key that no header can hold.
        """
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key holds characters that no key has; copy it again")
        self.endpoint = _checked_url(endpoint)
        self.model = model
        self._secret = api_key if api_key and len(api_key) >= _MIN_SECRET_LENGTH else None
        self._timeout_s = timeout_s
        self._client = openai.OpenAI(
            base_url=self.endpoint, api_key=api_key or _NO_KEY, max_retries=0, timeout=timeout_s
        )
        # Found in the environment by the openai client; only our caller reads the environment.
        self._client.organization = None
        self._client.project = None
        self._client.admin_api_key = None
        headers = self._client.default_headers | self._client.auth_headers
        self._connections = Connections(
            f"{self.endpoint}/chat/completions",
            {name: value for name, value in headers.items() if isinstance(value, str)},
            timeout_s,
            deadline_s,
        )

    def __repr__(self) -> str:
        return f"OpenAiChat({self.endpoint!r}, {self.model!r})"

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()
        self._client.close()

    def complete(self, request: ChatRequest, dialect: Dialect) -> ChatReply:
        """Send one request, once.

        Raises:
            LlmError: no connection, an error status, or an answer that is no chat completion.
        """
        started = time.monotonic()
        body = request.body(self.model, dialect)
        content = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        try:
            response = self._connections.post(content)
        except Unreached as error:
            raise self._unreached(error) from None
        duration_s = time.monotonic() - started
        if response.status_code == 400 and _is_filtered(response.text):
            explanation = _storable(_server_message(self.redacted(response.text)))
            return ChatReply(
                text=explanation,
                finish_reason="content_filter",
                prompt_tokens=0,  # a refused request costs nothing
                completion_tokens=0,
                status="refusal",
                duration_s=duration_s,
            )
        if not response.is_success:
            raise self._refused(response.status_code, response)
        return self.read(response.text, duration_s)

    def read(self, answer: str, duration_s: float | None = None) -> ChatReply:
        """The reply in the JSON text of a chat completion.

        Raises:
            LlmError: it is none, or one without content.
        """
        body = _storable(self.redacted(answer)) or ""
        completion = self._read(body)
        choice = completion.choices[0]
        text, status = choice.message.content, "ok"
        if choice.message.refusal or choice.finish_reason == "content_filter":
            text, status = choice.message.refusal or text, "refusal"
        elif text is None and choice.finish_reason == "length":
            text = ""
        elif text is None:
            raise self._error(
                f"a reply without content (finish_reason {choice.finish_reason!r})",
                "check that the model answers in plain text",
                200,
                body=body,
            )
        return ChatReply(
            text=_storable(text if text is None else self.redacted(text)),  # may be escaped JSON
            finish_reason=_storable(choice.finish_reason),
            prompt_tokens=_count(completion.usage, "prompt_tokens"),
            completion_tokens=_completion_tokens(completion.usage),
            status=status,
            duration_s=duration_s,
        )

    def call(self, operation: Callable[[openai.OpenAI], Result]) -> Result:
        """Use the endpoint's API, once.

        Raises:
            LlmError: no connection, or an error status.
        """
        try:
            return operation(self._client)
        except openai.APIStatusError as error:
            raise self._refused(error.response.status_code, error.response) from None
        except openai.APIConnectionError as error:
            raise self._unreached(unreached(error.__cause__ or error)) from None
        except openai.OpenAIError as error:
            raise self._error(f"{type(error).__name__}: {error}", "check the base URL") from None

    def _unreached(self, error: Unreached) -> LlmError:
        """The error for a request without a response."""
        problem, remedy = {
            "connection": (f"no connection ({error})", "start the server or correct the base URL"),
            "silence": (f"no answer within {self._timeout_s:g} s", "raise the timeout"),
            "deadline": (str(error), "raise the deadline, or ask for shorter replies"),
            "header": (
                "a header that HTTP does not allow, so nothing was sent",
                "check the API key for odd characters",
            ),
        }[error.reason]
        return self._error(
            problem,
            remedy,
            is_transient=error.reason != "header",
            kind=LlmError if error.is_sent else NotSentError,
        )

    def _refused(self, status: int, response: Any) -> LlmError:
        """The error for an error status."""
        body = self.redacted(response.text)
        detail = _server_message(body) or "no explanation"
        remedy = _REMEDIES.get(status, "try again later" if status >= 500 else "correct it")
        is_transient = status in _TRANSIENT or status >= 500
        if _NO_CREDIT in _error_codes(body):
            remedy, is_transient = _REMEDIES[402], False
        return self._error(
            f"status {status}: {detail}",
            remedy,
            status,
            is_transient=is_transient,
            retry_after_s=retry_after_s(response.headers),
        )

    def _read(self, answer: str) -> _Completion:
        try:
            return _Completion.model_validate(json.loads(answer))
        except ValidationError as error:
            detail = _server_message(answer) or error.errors()[0]["msg"]
            problem = f"status 200 with JSON that is no chat completion: {detail}"
        except (ValueError, RecursionError):
            problem = f"status 200 with something that is not JSON: {answer[:_SHOWN_CHARACTERS]!r}"
        raise self._error(problem, "check the base URL (it usually ends in /v1)", 200, body=answer)

    def _error(
        self,
        problem: str,
        remedy: str,
        status_code: int | None = None,
        *,
        is_transient: bool = False,
        retry_after_s: float | None = None,
        body: str | None = None,
        kind: type[LlmError] = LlmError,
    ) -> LlmError:
        """The failure as one line without the key."""
        return kind(
            self.endpoint,
            _storable(self.redacted(problem)) or "",
            remedy,
            status_code,
            is_transient=is_transient,
            retry_after_s=retry_after_s,
            body=body,
        )

    def redacted(self, text: str) -> str:
        """The text without the API key, should the server have echoed it."""
        return text.replace(self._secret, "***") if self._secret else text


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds a response asks to wait; None if it does not, or not understandably."""
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None or value is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _joined(content: Any) -> Any:
    """The text of content given as a list of parts; parts of other types, as thoughts, left out."""
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return content
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        return content
    return "".join(texts) if texts else None


class _Message(BaseModel):
    content: Annotated[str | None, BeforeValidator(_joined)] = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: Any = None


def _checked_url(endpoint: str) -> str:
    endpoint = endpoint.strip()
    if mark := next((each for each in endpoint if each in "@?#"), None):
        raise ValueError(
            f"LLM endpoint with {mark!r}: the base URL is recorded with every reply, so it must "
            "hold no password, query or fragment; give the API key separately"
        )
    if not _is_url(endpoint):
        raise ValueError(f"LLM endpoint {endpoint!r} is not a URL such as https://host/v1")
    return endpoint.rstrip("/")


def _is_url(endpoint: str) -> bool:
    try:
        url = urlsplit(endpoint)
        _, known_to_client = url.port, httpx2.URL(endpoint)
    except (ValueError, httpx2.InvalidURL):
        return False
    has_space = any(each.isspace() for each in endpoint)
    return url.scheme in ("http", "https") and bool(known_to_client.host) and not has_space


def _server_message(text: str) -> str:
    """What an error body says, shortened."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text[:_SHOWN_CHARACTERS]
    error = body.get("error", body.get("message")) if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("message", error)
    return str(error)[:_SHOWN_CHARACTERS] if error else ""


def _error_codes(text: str) -> tuple[Any, ...]:
    """Code and type of an error body."""
    try:
        error = json.loads(text)["error"]
        return (error.get("code"), error.get("type"))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ()


def _is_filtered(text: str) -> bool:
    return any(code in _FILTERED for code in _error_codes(text))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _storable(text: str | None) -> str | None:
    """The text without lone surrogates, which JSON can carry and UTF-8 cannot."""
    return text if text is None else text.encode("utf-8", "replace").decode()


def _completion_tokens(usage: Any) -> int | None:
    """Tokens beside the prompt's; some endpoints count thoughts only in the total."""
    prompt, total = _count(usage, "prompt_tokens"), _count(usage, "total_tokens")
    completion = _count(usage, "completion_tokens")
    if completion is None or prompt is None or total is None:
        return completion
    return max(completion, total - prompt)


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if is_count else None
