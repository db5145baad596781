"""The OpenAI Batch API as a real local HTTP server, beside chat completions of `LlmServer`.

    with BatchServer(answer=describe) as server:
        ...

A batch is `validating` when it is created and moves on one state whenever it is looked at. How the
n-th batch (from 1) ends is `server.ending(n)`, and what becomes of its n-th request is
`server.result(n, line)`: None for a reply, a status for an error line, "missing" for no line at
all. `server.on(event)` is called at the `EVENTS`, and may return "drop" to close the connection, a
status, or a status with headers. `server.content(number, data)` is what the n-th download gives.
"""

import email
import itertools
import json
import threading

from tests import llm_server
from tests.llm_server import LlmServer

EVENTS = ("uploading", "uploaded", "creating", "created", "listed", "looked", "content")
STATES = ("validating", "in_progress", "finalizing")
WITH_RESULTS = ("completed", "expired", "cancelled")


class BatchServer(LlmServer):
    """`files` by id, `batches` by id in the order of their creation."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.ending = lambda number: "completed"
        self.result = lambda number, line: None
        self.on = lambda event: None
        self.content = lambda number, data: data
        self.page = 2
        self.files = {}
        self.batches = {}
        self.events = []
        self.num_billed = 0
        self.extra_lines = []
        self.has_batches = True
        self._ids = itertools.count(1)
        self._batch_lock = threading.RLock()

    def __enter__(self):
        super().__enter__()
        owner = self

        class Handler(_BatchHandler):
            server_of_test = owner

        self._server.RequestHandlerClass = Handler
        return self

    def count(self, event):
        return self.events.count(event)

    def happens(self, event):
        assert event in EVENTS
        with self._batch_lock:
            self.events.append(event)
        return self.on(event)

    def store_file(self, data, purpose):
        with self._batch_lock:
            name = f"file-{next(self._ids)}"
            self.files[name] = data
        return {
            "id": name,
            "object": "file",
            "bytes": len(data),
            "created_at": 1,
            "filename": "requests.jsonl",
            "purpose": purpose,
            "status": "processed",
        }

    def create(self, body):
        with self._batch_lock:
            name = f"batch-{next(self._ids)}"
            self.batches[name] = {
                "id": name,
                "object": "batch",
                "endpoint": body["endpoint"],
                "input_file_id": body["input_file_id"],
                "completion_window": body["completion_window"],
                "metadata": body.get("metadata"),
                "created_at": len(self.batches),
                "status": STATES[0],
                "output_file_id": None,
                "error_file_id": None,
                "errors": None,
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
            }
            return dict(self.batches[name])

    def look(self, name):
        with self._batch_lock:
            batch = self.batches[name]
            shown = dict(batch)
            if batch["status"] in STATES:
                place = STATES.index(batch["status"]) + 1
                if place < len(STATES):
                    batch["status"] = STATES[place]
                else:
                    self.end(batch)
            return shown

    def end(self, batch):
        number = list(self.batches).index(batch["id"]) + 1
        ending = batch["status"] = self.ending(number)
        if ending == "failed":
            error = {"code": "invalid", "message": self.error_message, "line": 3}
            batch["errors"] = {"object": "list", "data": [error]}
        if ending not in WITH_RESULTS:
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        output, errors = [], []
        for place, line in enumerate(lines, start=1):
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            result = self.result(number, place)
            if result == "missing":
                continue
            if result == "expired":
                error = {"code": "batch_expired", "message": "it was not done in time"}
                errors.append({"custom_id": line["custom_id"], "response": None, "error": error})
                continue
            if result is None:
                self.num_billed += 1
                body = completion(self.answer(line["body"]), line["body"])
            else:
                body = {"error": {"message": self.error_message}}
            response = {"status_code": result or 200, "request_id": "r", "body": body}
            into = errors if result else output
            into.append({"custom_id": line["custom_id"], "response": response, "error": None})
        batch["request_counts"] = {
            "total": len(lines),
            "completed": len(output),
            "failed": len(errors),
        }
        texts = [json.dumps(line, ensure_ascii=False) for line in output[::-1]] + self.extra_lines
        if output or self.extra_lines:
            data = "\n".join(texts).encode() + b"\n"
            batch["output_file_id"] = self.store_file(data, "batch_output")["id"]
        if errors:
            data = b"".join(json.dumps(line).encode() + b"\n" for line in errors)
            batch["error_file_id"] = self.store_file(data, "batch_output")["id"]

    def listing(self, after):
        with self._batch_lock:
            newest_first = list(self.batches.values())[::-1]
            names = [batch["id"] for batch in newest_first]
            start = names.index(after) + 1 if after else 0
            page = newest_first[start : start + self.page]
            more = start + self.page < len(names)
            return {"object": "list", "data": page, "has_more": more}


class _BatchHandler(llm_server._Handler):
    def do_POST(self):
        test = self.server_of_test
        path = self.path.removeprefix("/v1")
        if path not in ("/files", "/batches"):
            super().do_POST()
            return
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not test.has_batches:
            self.send(404, {"error": {"message": "no such page"}})
            return
        before, after = ("uploading", "uploaded") if path == "/files" else ("creating", "created")
        if self.stops(test.happens(before)):
            return
        if path == "/files":
            parts = _parts(self.headers["Content-Type"], data)
            assert parts["purpose"] == b"batch"
            made = test.store_file(parts["file"], "batch")
        else:
            made = test.create(json.loads(data))
        if not self.stops(test.happens(after)):
            self.send(200, made)

    def do_GET(self):
        test = self.server_of_test
        path, _, query = self.path.removeprefix("/v1").partition("?")
        kind, _, rest = path.strip("/").partition("/")
        if kind == "batches" and not rest:
            given = dict(each.split("=") for each in query.split("&"))
            if not self.stops(test.happens("listed")):
                self.send(200, test.listing(given.get("after")))
        elif kind == "batches" and rest in test.batches:
            if not self.stops(test.happens("looked")):
                self.send(200, test.look(rest))
        elif kind == "files" and rest.removesuffix("/content") in test.files:
            if not self.stops(test.happens("content")):
                data = test.files[rest.removesuffix("/content")]
                self.send(200, test.content(test.count("content"), data))
        else:
            self.send(404, {"error": {"message": f"nothing at {self.path}"}})

    def stops(self, what):
        """Whether the connection is to be closed without an answer, or with an error."""
        if what == "drop":
            self.close_connection = True
            self.connection.close()
        elif what is not None:
            status, headers = what if isinstance(what, tuple) else (what, {})
            self.send(status, {"error": {"message": "something broke"}}, headers)
        return what is not None

    def send(self, status, value, headers=None):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)


def completion(text, body):
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }


def _parts(content_type, data):
    form = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + data)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in form.get_payload()
    }
