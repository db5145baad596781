"""A real local HTTP server that speaks the OpenAI chat completions protocol, well or badly.

    with LlmServer() as server:
        OpenAiChat(server.url, "test-model").complete(request)

`answer(body)` writes the reply's text; `behave(number, body)` names a behaviour of `BEHAVIOURS` (or
None) for the number-th request, from 1. `requests` keeps what arrived: (path, headers with
lower-case names, body).
"""

import json
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEHAVIOURS = (
    "status",  # an error status with a JSON error body: server.status, server.error_message
    "status_html",  # the same with an HTML page
    "html",  # 200 with a page
    "broken_json",  # 200 with half an object
    "error_body",  # 200 with an error object
    "no_choices",  # choices null
    "empty_choices",  # choices []
    "null_content",  # content null, finish_reason stop
    "empty_length",  # content null, finish_reason length
    "length",  # cut text, finish_reason length
    "refusal",  # the refusal field
    "content_filter",  # content null, finish_reason content_filter
    "odd_usage",  # usage that makes no sense
    "surrogate",  # a lone surrogate in the text
    "fenced",  # the answer inside a code fence, with words around it
    "echo_key",  # the text repeats the Authorization header
    "reset",  # connection reset instead of an answer
    "half_body",  # connection closed in the middle of the body
)


class LlmServer:
    """Context manager; the port is free to choose by the system."""

    def __init__(self, answer=lambda body: "{}", behave=lambda number, body: None, delay_s=0.0):
        self.answer = answer
        self.behave = behave
        self.delay_s = delay_s
        self.status = 500
        self.error_message = "something broke"
        self.requests = []
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

    def record(self, path, headers, body):
        with self._lock:
            self.requests.append((path, headers, body))
            return len(self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Clients that are killed or time out are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test = None

    def log_message(self, *_):
        pass

    def do_POST(self):
        test = self.server_of_test
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        number = test.record(self.path, headers, body)
        behaviour = test.behave(number, body)
        if behaviour is not None and behaviour not in BEHAVIOURS:
            raise ValueError(behaviour)
        if test.delay_s:
            time.sleep(test.delay_s)
        if behaviour == "reset":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            self.close_connection = True
            return
        status, kind, data = self.respond(behaviour, body)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if behaviour == "half_body":
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)

    def respond(self, behaviour, body):
        test = self.server_of_test
        page = b"<html><body>Welcome</body></html>"
        if behaviour in ("html", "status_html"):
            return (200 if behaviour == "html" else test.status), "text/html", page
        if behaviour in ("status", "error_body"):
            error = {"error": {"message": test.error_message, "type": "test", "code": None}}
            return (200 if behaviour == "error_body" else test.status), *_json(error)
        kind, data = _json(self.completion(behaviour, test.answer(body), body))
        return 200, kind, data[: len(data) // 2] if behaviour == "broken_json" else data

    def completion(self, behaviour, text, body):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        completion = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }
        if behaviour == "no_choices":
            completion["choices"] = None
        elif behaviour == "empty_choices":
            completion["choices"] = []
        elif behaviour in ("null_content", "empty_length", "content_filter"):
            reasons = {"empty_length": "length", "null_content": "stop"}
            message["content"] = None
            choice["finish_reason"] = reasons.get(behaviour, "content_filter")
        elif behaviour == "length":
            message["content"], choice["finish_reason"] = text[: len(text) // 2], "length"
        elif behaviour == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that."}
        elif behaviour == "odd_usage":
            completion["usage"] = {"prompt_tokens": -1, "completion_tokens": "many"}
        elif behaviour == "surrogate":
            message["content"] = "broken \ud800 text"
        elif behaviour == "fenced":
            message["content"] = f"Here you are:\n```json\n{text}\n```\nAnything else?"
        elif behaviour == "echo_key":
            message["content"] = f"you sent {self.headers['Authorization']}"
        return completion


def _json(value):
    return "application/json", json.dumps(value).encode()
