"""The OpenAI Batch API: files of requests, batches of them, files of results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import openai
import tenacity

from knowledge.llm.client import OpenAiChat
from knowledge.llm.messages import ChatReply, LlmError

if TYPE_CHECKING:
    from openai.types import Batch

METADATA = "actionlore"
"""Name under which the endpoint keeps our key of a batch."""
MAX_FILE_BYTES = 200_000_000
"""Largest file of requests the API takes."""
MAX_REQUESTS = 50_000
"""Most requests of a batch."""
ENDED = ("completed", "expired", "cancelled", "failed")
"""States that a batch does not leave."""
Window = Literal["24h"]

_URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_TRIES = 5
_SHOWN_CHARACTERS = 300
_TRANSIENT = (408, 409, 429)
_NO_BATCH_API = (404, 405, 501)
Result = TypeVar("Result")


class NotDone(LlmError):  # noqa: N818
    """A request that a batch left without a result; such requests are not billed."""

    @property
    def may_be_billed(self) -> bool:
        """No."""
        return False


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

    def look(self, batch_id: str) -> Batch:
        """A batch as it is now."""

        def retrieve(client: openai.OpenAI) -> Batch:
            batch = client.batches.retrieve(batch_id)
            str(batch.status)  # fails here if the answer is something else
            return batch

        return self._use(retrieve)

    def results(self, batch: Batch) -> Iterator[tuple[str | None, ChatReply | LlmError]]:
        """What the lines of a batch's result files say.

        Yields:
            custom_id (None where a line cannot be read) and the reply; or `NotDone`; or the
            `LlmError` of a reply that is unusable but billed.
        """
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id is None:
                continue
            data = self._use(_reader_of(file_id))
            for text in data.split(b"\n"):
                if text.strip():
                    yield self._result(text)

    def _result(self, text: bytes) -> tuple[str | None, ChatReply | LlmError]:
        try:
            value = json.loads(text)
            outcome = self._outcome(value.get("response"), value.get("error"))
            return str(value["custom_id"]), outcome
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return None, self._not_done("a result that cannot be read", None)

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
            wait=tenacity.wait_fixed(self._pause_s),
            retry=tenacity.retry_if_exception(
                lambda error: isinstance(error, LlmError) and error.is_transient
            ),
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
                "ask without batch mode (--batch) if the endpoint has no batches",
                error.status_code,
            ) from None

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
