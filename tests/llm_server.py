"""A real local HTTP server that speaks the OpenAI chat completions protocol, well or badly.

    with LlmServer() as server:
        OpenAiChat(server.url, "test-model").complete(request, Dialect())

`answer(body)` writes the reply's text; `behave(number, body)` names a behaviour of `BEHAVIOURS` (or
None) for the number-th request, from 1; `usage(body, text)` says what is billed. `requests` keeps
what arrived: (path, headers with lower-case names, body), `arrived` the monotonic times, and
`most_in_flight` how many were answered at a time. Other paths: override `get` and `post`.
"""

import gzip
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<html><body>Welcome</body></html>"
DRIBBLE_S = 0.05
"""Pause between the pieces of a slow body."""


@dataclass
class Answer:
    """What goes over the wire."""

    status: int = 200
    data: bytes = b""
    kind: str = "application/json"
    headers: dict = field(default_factory=dict)
    manner: str = "whole"
    """whole, closed (afterwards), dribble, half (closed in the middle), reset or reset_middle."""


class LlmServer:
    """Context manager; the system chooses the port."""

    def __init__(self, answer=lambda body: "{}", behave=lambda number, body: None, delay_s=0.0):
        self.answer = answer
        self.behave = behave
        self.delay_s = delay_s
        self.usage = lambda body, text: (11, 7)
        self.status = 500
        self.error_message = "something broke"
        self.requests = []
        self.arrived = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def num_requests(self):
        return len(self.requests)

    def __enter__(self):
        owner = self

        class Handler(_Handler):
            server_of_test = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def get(self, path, headers):
        """Answer a GET."""
        return refusal(404)(self, None, headers)

    def post(self, path, headers, data):
        """Answer a POST."""
        return self.chat(path, headers, json.loads(data))

    def chat(self, path, headers, body):
        """Answer a chat completion as `behave` says."""
        with self._lock:
            self.requests.append((path, headers, body))
            self.arrived.append(time.monotonic())
            number = len(self.requests)
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            behaviour = self.behave(number, body)
            if self.delay_s:
                time.sleep(self.delay_s)
            return (BEHAVIOURS[behaviour] if behaviour else completed())(self, body, headers)
        finally:
            with self._lock:
                self._in_flight -= 1


def completion(server, body, text, finish_reason="stop", **message):
    """A chat completion as the endpoint would write it."""
    prompt_tokens, completion_tokens = server.usage(body, text)
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text} | message,
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def completed(text=lambda text: text, finish_reason="stop", manner="whole", **message):
    """Behaviour: a completion whose text, fields or manner are changed."""

    def behave(server, body, headers):
        written = text(server.answer(body))
        value = completion(server, body, written, finish_reason, **message)
        return Answer(data=json.dumps(value).encode(), manner=manner)

    return behave


def changed(change, cut=1.0):
    """Behaviour: a completion whose object `change` edits, cut to a share of its bytes."""

    def behave(server, body, headers):
        value = completion(server, body, server.answer(body))
        change(value)
        data = json.dumps(value).encode()
        return Answer(data=data[: int(len(data) * cut)])

    return behave


def in_parts(value):
    """Change: the content becomes a list of parts, beside a thought."""
    message = value["choices"][0]["message"]
    text = message["content"]
    message["content"] = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Well."}]},
        {"type": "text", "text": text[:5]},
        {"type": "text", "text": text[5:]},
    ]


def refusal(status=None, code=None, message=None, **headers):
    """Behaviour: an error status with an error object; headers with _ for -, called if callable."""

    def behave(server, body, _):
        text = message or server.error_message
        sent = {
            name.replace("_", "-"): value() if callable(value) else value
            for name, value in headers.items()
        }
        error = {"error": {"message": text, "type": "test", "code": code}}
        return Answer(status or server.status, json.dumps(error).encode(), headers=sent)

    return behave


def unless(accepted, message, status=400):
    """Behaviour: rejects what `accepted(body)` denies."""
    reject = refusal(status, "unsupported_parameter", message)

    def behave(server, body, headers):
        return (completed() if accepted(body) else reject)(server, body, headers)

    return behave


def fixed(answer):
    """Behaviour: always the same answer."""
    return lambda server, body, headers: replace(answer)


def echo_key(server, body, headers):
    """Behaviour: the text repeats the Authorization header, once with JSON escapes."""
    sent = headers.get("authorization", "nothing")
    data = json.dumps(completion(server, body, f"you sent {sent} and ESCAPED")).encode()
    escaped = "".join(f"\\u{ord(character):04x}" for character in sent)
    return Answer(data=data.replace(b"ESCAPED", escaped.encode()))


def compressed(server, body, headers):
    """Behaviour: a completion that nobody asked to be compressed."""
    data = gzip.compress(json.dumps(completion(server, body, server.answer(body))).encode())
    return Answer(data=data, headers={"Content-Encoding": "gzip"})


def actions(change):
    """Behaviour: a reply {"actions": [...]} whose names are changed."""
    return completed(lambda text: json.dumps({"actions": change(json.loads(text)["actions"])}))


def form_of(body):
    """The kind of response format a body asks for."""
    return body.get("response_format", {}).get("type", "text")


def set_choices(value):
    return changed(lambda whole: whole.update(choices=value))


def set_usage(value):
    return changed(lambda whole: whole.update(usage=value))


def in_an_hour():
    return format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


BEHAVIOURS = {
    # error statuses; "status" takes server.status, and all of them server.error_message
    "status": refusal(),
    **{
        str(status): refusal(status)
        for status in (400, 401, 402, 403, 404, 408, 409, 415, 422, 429, 500, 501, 502, 503, 504)
    },
    "status_html": lambda server, body, headers: Answer(server.status, PAGE, "text/html"),
    "429_seconds": refusal(429, retry_after="1"),
    "429_ms": refusal(429, retry_after_ms="300", retry_after="30"),
    "429_date": refusal(429, retry_after=in_an_hour),
    "429_past_date": refusal(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    "429_absurd": refusal(429, retry_after="1" + "0" * 300),
    "429_garbage": refusal(429, retry_after="soon"),
    "429_no_date": refusal(429, retry_after=f"Wed, 21 Oct {'9' * 20} 07:28:00 GMT"),
    "429_negative": refusal(429, retry_after="-5"),
    "insufficient_quota": refusal(429, "insufficient_quota", "You exceeded your quota"),
    "filtered": refusal(400, "content_filter", "The prompt was filtered"),
    "policy": refusal(400, "content_policy_violation", "This is against our policy"),
    "503_seconds": refusal(503, retry_after="1"),
    # dialects
    "no_json_schema": unless(lambda body: form_of(body) != "json_schema", "no json_schema here"),
    "no_response_format": unless(lambda body: form_of(body) == "text", "no response_format here"),
    "no_max_completion_tokens": unless(
        lambda body: "max_completion_tokens" not in body, "use 'max_tokens' instead"
    ),
    "plain_and_old": unless(
        lambda body: form_of(body) == "text" and "max_completion_tokens" not in body, "too new"
    ),
    "no_json_schema_404": unless(
        lambda body: form_of(body) != "json_schema", "no json_schema here", 404
    ),
    "no_json_schema_500": unless(
        lambda body: form_of(body) != "json_schema", "no json_schema here", 500
    ),
    # 200 with something else than a completion
    "html": fixed(Answer(200, PAGE, "text/html")),
    "empty_body": fixed(Answer(200)),
    "broken_json": changed(lambda whole: None, cut=0.5),
    "error_body": fixed(Answer(200, b'{"error": {"message": "something broke", "code": null}}')),
    "no_choices": set_choices(None),
    "empty_choices": set_choices([]),
    "odd_choices": set_choices([{"message": "text"}]),
    "null_content": completed(content=None),
    # completions
    "length": completed(lambda text: text[: len(text) // 2], "length"),
    "empty_length": completed(finish_reason="length", content=None),
    "refusal": completed(content=None, refusal="I cannot help with that."),
    "content_filter": completed(finish_reason="content_filter", content=None),
    "fenced": completed(lambda text: f"Here you are:\n```json\n{text}\n```\nAnything else?"),
    "fenced_crlf": completed(lambda text: f"```json\r\n{text}\r\n```"),
    "prose": completed(lambda text: "I would say that these are plausible."),
    "duplicate_keys": completed(lambda text: text.replace("{", '{"actions": [], ', 1)),
    "nan": completed(lambda text: text.replace("{", '{"score": NaN, ', 1)),
    "surrogate": completed(lambda text: "broken \ud800 text"),
    "inner_surrogate": completed(lambda text: '{"actions": ["\\ud800"], "description": "\\ud800"}'),
    "wrong_form": completed(lambda text: '{"answer": 42}'),
    "invented": actions(lambda names: [*names, "teleporting"]),
    "only_inventions": actions(lambda names: ["teleporting", "flying to Mars"]),
    "respelled": actions(lambda names: [name.upper().replace(" ", "_") for name in names]),
    "parts": changed(in_parts),
    "thoughts_in_total": set_usage(
        {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 1018}
    ),
    "odd_usage": set_usage({"prompt_tokens": -1, "completion_tokens": "many"}),
    "no_usage": changed(lambda whole: whole.pop("usage")),
    "huge_usage": set_usage({"prompt_tokens": 10**30, "completion_tokens": True}),
    "echo_key": echo_key,
    "gzip": compressed,
    # the connection
    "moved": lambda server, body, headers: Answer(
        308, headers={"Location": server.url + "/elsewhere"}
    ),
    "closed": completed(manner="closed"),
    "slow_body": completed(manner="dribble"),
    "half_body": completed(manner="half"),
    "reset": completed(manner="reset"),
    "reset_middle": completed(manner="reset_middle"),
}
"""What can go right or wrong: name -> function(server, body, headers) -> Answer."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Clients that are killed or time out are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of_test = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._send(self.server_of_test.get(self.path, self._headers()))

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.server_of_test.post(self.path, self._headers(), data))

    def _headers(self):
        return {name.lower(): value for name, value in self.headers.items()}

    def _send(self, answer):
        if answer.manner == "reset":
            self._reset()
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.data)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        half = len(answer.data) // 2
        if answer.manner == "dribble":
            self.wfile.flush()
            for start in range(0, len(answer.data), 1 + len(answer.data) // 10):
                time.sleep(DRIBBLE_S)
                self.wfile.write(answer.data[start : start + 1 + len(answer.data) // 10])
                self.wfile.flush()
        elif answer.manner in ("whole", "closed"):
            self.wfile.write(answer.data)
            self.close_connection = answer.manner == "closed"
        else:
            self.wfile.write(answer.data[:half])
            self.wfile.flush()
            self.close_connection = True
        if answer.manner == "reset_middle":
            self._reset()

    def _reset(self):
        """Break the connection off with a reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True
