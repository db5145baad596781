"""Recorded replies over HTTP: an endpoint that answers any OpenAI client, free and offline.

It answers what was asked before: the replies of `llm_calls` artifacts, or the bundled ones to the
questions that the kinds ask by default about the bundled class lists.

Equal messages, as several rounds send them, are answered in turn: a request does not say its round.
Where nothing was answered (status no_reply, a class without a recorded text), the completion has
neither content nor refusal and finish_reason "content_filter": the one outcome without a text in
the protocol. Clients keep it as a refusal without words and do not ask again.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from artifacts.artifact import Artifact
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.class_names import prompt_name
from knowledge.extraction.question import ActionClass
from knowledge.extraction.recorded import BUNDLES, RecordedReplies
from knowledge.extraction.registry import kind_module, kind_names
from knowledge.llm.budget import longest_reply
from knowledge.llm.messages import ChatReply, Dialect

ANY = "recorded"
"""Name of the model that answers from everything that is served."""
Exchange = tuple[Mapping[str, Any], ChatReply]
"""A request's body and what came back."""

_SHOWN_CHARACTERS = 60
_NO_REPLY = ChatReply(text=None, finish_reason="content_filter", status="refusal")


class NotRecorded(LookupError):  # noqa: N818
    """A request to which nothing is recorded; says what is."""


class Recording:
    """Replies by the messages they answer; read when the first of them is wanted."""

    def __init__(self, model: str, what: str, read: Callable[[], Iterable[Exchange]]) -> None:
        """Describe a recording.

        Args:
            model: name by which a client can choose it.
            what: what was asked.
            read: reads the exchanges, in the order in which equal ones are served.
        """
        self.model = model
        self._what = what
        self._read = read
        self._lock = threading.Lock()
        self._replies: dict[str, list[tuple[int | None, ChatReply]]] | None = None
        self._unanswered: set[str] = set()
        self._served: Counter[tuple[str, int | None]] = Counter()

    def __str__(self) -> str:
        return f"{len(self)} of {self.model} {self._what}"

    def __len__(self) -> int:
        """Requests that can be answered; rounds with equal messages count as one."""
        with self._lock:
            return len(self._loaded())

    def reply(self, body: Mapping[str, Any]) -> ChatReply | None:
        """The next reply to a body's messages; after the last one the first again.

        Of several, those with the body's limit on the reply are meant, if there are any: a
        truncated reply was asked for again with more room.
        """
        key, limit = _messages_key(body), longest_reply(body)
        with self._lock:
            recorded = self._loaded().get(key)
            if not recorded:
                return None
            alike = [reply for room, reply in recorded if room == limit]
            replies = alike or [reply for _, reply in recorded]
            number = self._served[key, limit]
            self._served[key, limit] += 1
            return replies[number % len(replies)]

    def knows(self, body: Mapping[str, Any]) -> bool:
        """Whether a body's messages were asked, though perhaps not answered."""
        with self._lock:
            key, replies = _messages_key(body), self._loaded()
            return key in replies or (bool(replies) and key in self._unanswered)

    def _loaded(self) -> dict[str, list[tuple[int | None, ChatReply]]]:
        if self._replies is None:
            self._replies = defaultdict(list)
            for body, reply in self._read():
                if reply.status == "no_reply":
                    self._unanswered.add(_messages_key(body))
                else:
                    self._replies[_messages_key(body)].append((longest_reply(body), reply))
        return self._replies


def bundled() -> list[Recording]:
    """The bundled replies; a class list's name chooses those of its own bundle."""
    return [
        Recording(bundle, kind, _bundle_reader(bundle, kind))
        for kind in sorted(kind_names(), key=lambda name: name == "cooccurrence")  # long lists last
        for bundle in BUNDLES
    ]


def recorded_calls(calls: Artifact) -> Recording:
    """The replies of an `llm_calls` artifact, those to equal messages by round.

    Raises:
        ValueError: it is of another kind.
    """
    if calls.ref.kind != "llm_calls":
        raise ValueError(f"{calls.ref} holds no replies; give the ref of an llm_calls artifact")

    def read() -> Iterable[Exchange]:
        rows = calls.read().to_pylist()
        for row in sorted(rows, key=lambda row: (row["round"], row["reask"])):
            fields = ("finish_reason", "prompt_tokens", "completion_tokens", "status")
            reply = ChatReply(text=row["reply"], **{name: row[name] for name in fields})
            yield json.loads(row["request"]), reply

    return Recording(calls.manifest.name, "calls", read)


class ReplayServer:
    """Serves recordings from a thread of its own; a context manager."""

    def __init__(self, recordings: Sequence[Recording], port: int, host: str = "127.0.0.1") -> None:
        """Take the port.

        Args:
            recordings: what is served; the first that knows a request answers it.
            port: 0 for any free one.
            host: where to listen; other hosts can ask only if it is not the local one.

        Raises:
            ValueError: the port cannot be taken.
        """
        self._recordings = list(recordings)
        handler = type("Handler", (_Handler,), {"replay": self})
        try:
            self._server = _Server((host, port), handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"port {port} of {host}: {error}; give another --port") from None
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Base URL for clients."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    @property
    def models(self) -> list[str]:
        """Names a client may ask for; any other means the first."""
        return list(dict.fromkeys([ANY, *(each.model for each in self._recordings)]))

    def reply(self, body: Mapping[str, Any]) -> ChatReply:
        """The recorded reply; a completion without content where none came.

        Raises:
            NotRecorded: it was not asked, or the recording has no reply at all.
        """
        named = [each for each in self._recordings if each.model == body.get("model")]
        recordings = named or self._recordings
        for each in recordings:
            if reply := each.reply(body):
                return reply
        if any(each.knows(body) for each in recordings):
            return _NO_REPLY
        asked = _text_of(body["messages"][-1])[-_SHOWN_CHARACTERS:]
        there = ", ".join(str(each) for each in recordings if len(each))
        raise NotRecorded(f"nothing recorded for ...{asked!r}; there are: {there or 'none'}")

    def wait(self) -> None:
        """Serve until Ctrl-C, which comes as KeyboardInterrupt."""
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    replay: ReplayServer

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""

    def do_GET(self) -> None:
        if self.path.removeprefix("/v1") != "/models":
            self._refuse(404, f"nothing at {self.path}; there are /v1/chat/completions, /v1/models")
            return
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "actionlore"}
            for name in self.replay.models
        ]
        self._send(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        try:
            data = self.rfile.read(int(self.headers["Content-Length"]))
        except (TypeError, ValueError):
            self.close_connection = True
            self._refuse(411, "a request without Content-Length; send it")
            return
        if self.path.removeprefix("/v1") != "/chat/completions":
            self._refuse(404, f"nothing at {self.path}; there are /v1/chat/completions, /v1/models")
            return
        try:
            body = json.loads(data)
            _messages_key(body)
            is_stream = bool(body.get("stream"))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            self._refuse(400, "a request that is no chat completion; send JSON with text messages")
            return
        if is_stream:
            self._refuse(400, "stream=true is not served; leave it out")
            return
        try:
            reply = self.replay.reply(body)
        except NotRecorded as error:
            self._refuse(404, str(error), "not_recorded")
            return
        self._send(200, _completion(str(body.get("model", ANY)), reply))

    def _refuse(self, status: int, message: str, code: str | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._send(status, {"error": error})

    def _send(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _bundle_reader(bundle: str, kind: str) -> Callable[[], Iterable[Exchange]]:
    def read() -> Iterable[Exchange]:
        table = class_list(bundle)
        columns = (table[name].tolist() for name in ("class_id", "name", "group"))
        classes = [
            ActionClass(class_id, name, prompt_name(name), group, True, True)
            for class_id, name, group in zip(*columns, strict=True)
        ]
        recorded = RecordedReplies(each.name for each in classes)
        for request in kind_module(kind).CONFIG().requests(classes):
            body = request.body(bundle, Dialect())
            yield body, recorded.complete(request, Dialect())

    return read


def _completion(model: str, reply: ChatReply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.status == "refusal":
        message |= {"content": None, "refusal": reply.text}
    usage = None
    if reply.prompt_tokens is not None and reply.completion_tokens is not None:
        usage = {
            "prompt_tokens": reply.prompt_tokens,
            "completion_tokens": reply.completion_tokens,
            "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        }
    return {
        "id": "chatcmpl-recorded",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": reply.finish_reason,
            }
        ],
        "usage": usage,
    }


def _messages_key(body: Mapping[str, Any]) -> str:
    """What of a request decides its reply; a text in parts is the same as a whole one.

    Raises:
        TypeError, LookupError: there are no messages of text.
    """
    messages = [[message["role"], _text_of(message)] for message in body["messages"]]
    if not messages:
        raise LookupError("messages")
    return json.dumps(messages)


def _text_of(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
