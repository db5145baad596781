"""The OpenAI Batch API: files of requests, batches of them, files of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import openai
import tenacity

from knowledge.llm.client import OpenAiChat
from knowledge.llm.messages import ChatReply, LlmError
from knowledge.llm.options import Window

if TYPE_CHECKING:
    from openai.types import Batch

METADATA = "actionlore"
"""Name under which the endpoint keeps our key of a batch."""
ENDED = ("completed", "expired", "cancelled", "failed")
"""States that a batch does not leave."""

_URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_TRIES = 5
_SHOWN_CHARACTERS = 300
_TRANSIENT = (408, 409, 429)
_NO_BATCH_API = (404, 405, 501)
_GONE = (404, 410)
_LONGEST_RETRY_AFTER_S = 600.0
Result = TypeVar("Result")


class NotDone(LlmError):  # noqa: N818
    """A request that a batch left without a result; such requests are not billed."""

    @property
    def may_be_billed(self) -> bool:
        """False: the Batch API charges nothing for them."""
        return False


@dataclass
class Results:
    """What the result files of a batch say."""

    outcomes: list[tuple[str, ChatReply | LlmError]] = field(default_factory=list)
    """custom_id and the reply; or `NotDone`; or the `LlmError` of an unusable but billed reply."""
    num_unreadable: int = 0
    """Lines that are no result."""
    num_missing: int = 0
    """Results that the batch counts as completed and its output file does not hold."""
    is_gone: bool = False
    """Whether the endpoint has a file no more."""

    @property
    def problem(self) -> str | None:
        """Why requests without an outcome may have been answered; None if they were not."""
        if self.num_unreadable or self.num_missing:
            return (
                f"its results have {self.num_unreadable} lines that cannot be read and lack "
                f"{self.num_missing} that it counts as completed"
            )
        return None


class BatchApi:
    """Batches at one endpoint; what fails for a reason that may pass is tried again."""

    def __init__(self, model: OpenAiChat, pause_s: float) -> None:
        """Use a model's endpoint.

        Args:
            model: whose endpoint and key.
            pause_s: before a try after an error.
        """
        self._model = model
        self._pause_s = pause_s

    def upload(self, lines: Iterable[bytes]) -> str:
        """Upload requests (see `line`); returns the file's id.

        Raises:
            LlmError: the endpoint takes no such file.
        """
        data = ("requests.jsonl", b"".join(lines), "application/jsonl")
        return self._use(lambda client: client.files.create(file=data, purpose="batch").id)

    def create(self, batch_key: str, file_id: str, window: Window) -> str:
        """Create a batch; returns its id.

        It is tried again only after making sure that the failed try left no batch.

        Raises:
            LlmError: it was refused, or it is unknown whether there is one now.
        """
        is_first = True

        def create(client: openai.OpenAI) -> str:
            return client.batches.create(
                input_file_id=file_id,
                endpoint=_URL,
                completion_window=window,
                metadata={METADATA: batch_key},
            ).id

        def try_once() -> str:
            nonlocal is_first
            if not is_first and (found := self._find_again(batch_key)):
                return found
            is_first = False
            return self._once(create)

        return self._patiently(try_once)

    def find(self, batch_key: str) -> str | None:
        """Id of the batch with that key, or None if the endpoint has none."""
        return self._use(lambda client: _find(client, batch_key))

    def retrieve(self, batch_id: str, batch_key: str) -> Batch | None:
        """A batch as it is now; None if the endpoint neither knows its id nor lists its key."""

        def retrieve(client: openai.OpenAI) -> Batch:
            batch = client.batches.retrieve(batch_id)
            str(batch.status)  # fails here if the answer is something else
            return batch

        try:
            return self._use(retrieve)
        except LlmError as error:
            if error.status_code not in _GONE or self.find(batch_key) is not None:
                raise
            return None

    def results(self, batch: Batch) -> Results:
        """Download what a batch that ended brought."""
        results = Results()
        output = self._lines(batch.output_file_id, results)
        errors = self._lines(batch.error_file_id, results)
        if batch.request_counts and not results.is_gone:
            results.num_missing = max(0, batch.request_counts.completed - len(output))
        for text in (*output, *errors):
            outcome = self._result(text)
            if outcome is None:
                results.num_unreadable += 1
            else:
                results.outcomes.append(outcome)
        return results

    def _lines(self, file_id: str | None, results: Results) -> list[bytes]:
        if file_id is None:
            return []
        try:
            data = self._use(_reader_of(file_id))
        except LlmError as error:
            if error.status_code not in _GONE:
                raise
            results.is_gone = True
            return []
        return [text for text in data.split(b"\n") if text.strip()]

    def _result(self, text: bytes) -> tuple[str, ChatReply | LlmError] | None:
        """None where a line is no result."""
        try:
            value = json.loads(text)
            outcome = self._outcome(value.get("response"), value.get("error"))
            return str(value["custom_id"]), outcome
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return None

    def _outcome(self, response: Any, error: Any) -> ChatReply | LlmError:
        status = body = None
        if isinstance(response, dict):
            status, body = response.get("status_code"), response.get("body")
        if status == 200:
            try:
                return self._model.read(json.dumps(body))
            except LlmError as unusable:
                return unusable
        if isinstance(body, dict):
            error = body.get("error", body)
        detail = error.get("message") or error.get("code") if isinstance(error, dict) else error
        if not isinstance(status, int):
            return self._not_done(f"no result ({detail})", None)
        return self._not_done(f"status {status}: {detail}", status)

    def _not_done(self, problem: str, status: int | None) -> NotDone:
        return NotDone(
            self._model.endpoint,
            self._model.redacted(f"in a batch: {problem}")[:_SHOWN_CHARACTERS],
            "correct it",
            status,
            is_transient=status is None or status in _TRANSIENT or status >= 500,
        )

    def _find_again(self, batch_key: str) -> str | None:
        """As `find`; an error is never a refusal, because there may be a batch."""
        try:
            return self.find(batch_key)
        except LlmError as error:
            raise LlmError(error.endpoint, error.problem, error.remedy) from None

    def _use(self, operation: Callable[[openai.OpenAI], Result]) -> Result:
        return self._patiently(lambda: self._once(operation))

    def _patiently(self, try_once: Callable[[], Result]) -> Result:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_TRIES),
            wait=self._pause,
            retry=tenacity.retry_if_exception(_may_pass_soon),
            reraise=True,
        )
        try:
            return retrying(try_once)
        except LlmError as error:
            if error.status_code not in _NO_BATCH_API:
                raise
            raise LlmError(
                error.endpoint,
                error.problem,
                "ask without batch mode (--llm-batch) if the endpoint has no batches",
                error.status_code,
            ) from None

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """As long as the endpoint asks for, if that is longer than ours."""
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_s if isinstance(error, LlmError) else None
        return max(self._pause_s, asked or 0.0)

    def _once(self, operation: Callable[[openai.OpenAI], Result]) -> Result:
        try:
            return self._model.call(operation)
        except (AttributeError, TypeError):  # the openai client checks no answer
            raise LlmError(
                self._model.endpoint,
                "an answer that is no file or batch",
                "check the base URL (it usually ends in /v1)",
            ) from None


def line(key: str, body: str) -> bytes:
    """A line of a file of requests.

    Args:
        key: comes back with the result.
        body: the request's body as JSON.
    """
    head = json.dumps({"custom_id": key, "method": "POST", "url": _URL})
    return f'{head[:-1]}, "body": {body}}}\n'.encode()


def _may_pass_soon(error: BaseException) -> bool:
    if not isinstance(error, LlmError) or not error.is_transient:
        return False
    return (error.retry_after_s or 0.0) <= _LONGEST_RETRY_AFTER_S


def _find(client: openai.OpenAI, batch_key: str) -> str | None:
    """Of several with the same key the one that is not given up."""
    found = None
    for batch in client.batches.list(limit=100):
        if (batch.metadata or {}).get(METADATA) == batch_key:
            if batch.status not in ("failed", "cancelled", "cancelling"):
                return batch.id
            found = found or batch.id
    return found


def _reader_of(file_id: str) -> Callable[[openai.OpenAI], bytes]:
    return lambda client: client.files.content(file_id).read()
