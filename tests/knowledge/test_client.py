"""The client against a real server: one attempt per call, every odd answer one typed error."""

import socket
import time
import traceback

import pytest

from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.messages import ChatRequest, LlmError, Message, Sampling
from tests.llm_server import LlmServer

KEY = "sk-test-0123456789abcdef"
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def request(**changes):
    fields = {
        "question": "description",
        "class_id": 1,
        "class_name": "run",
        "messages": (Message(role="user", content="What is run? ü"),),
    }
    return ChatRequest(**fields | changes)


@pytest.fixture
def server():
    with LlmServer(answer=lambda body: '{"description": "legs"}') as server:
        yield server


@pytest.fixture
def client(server):
    client = OpenAiChat(server.url, "test-model", KEY)
    yield client
    client.close()


def test_a_reply(server, client):
    reply = client.complete(request())
    assert (reply.text, reply.finish_reason, reply.status) == (
        '{"description": "legs"}',
        "stop",
        "ok",
    )
    assert (reply.prompt_tokens, reply.completion_tokens) == (11, 7)
    assert reply.duration_s > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reply_schema": SCHEMA},
        {"sampling": Sampling(temperature=0.7, top_p=0.9, max_completion_tokens=99)},
    ],
)
def test_what_is_sent_is_exactly_the_body(server, client, changes):
    asked = request(**changes)
    client.complete(asked)
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == asked.body("test-model")
    assert ("response_format" in body) == ("reply_schema" in changes)


def test_the_environment_is_not_read(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-from-the-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-the-environment/v1")
    client = OpenAiChat(server.url, "test-model")
    client.complete(request())
    client.close()
    assert "from-the-environment" not in str(server.requests)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("html", "something that is not JSON: '<html>.*; check the base URL"),
        ("broken_json", "something that is not JSON"),
        ("error_body", "no chat completion: something broke"),
        ("no_choices", "no chat completion"),
        ("empty_choices", "no chat completion"),
        ("null_content", r"without content \(finish_reason 'stop'\)"),
        ("status_html", "status 500: <html>.*; try again later"),
        ("status", "status 500: something broke; try again later"),
        ("reset", "no connection"),
        ("half_body", "no connection"),
    ],
)
def test_odd_answers_are_one_error_in_one_line_after_one_attempt(
    server, client, behaviour, message
):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError, match=message) as caught:
        client.complete(request())
    assert str(caught.value).startswith(f"LLM endpoint {server.url}: ")
    assert "\n" not in str(caught.value)
    assert server.num_requests == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503])
def test_error_statuses(server, client, status):
    server.behave = lambda number, body: "status"
    server.status, server.error_message = status, f"no, {KEY} is\nwrong " * 50
    with pytest.raises(LlmError, match=f"status {status}: no, .* is wrong") as caught:
        client.complete(request())
    assert caught.value.status_code == status
    assert len(str(caught.value)) < 500
    assert server.num_requests == 1


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    client = OpenAiChat(url, "test-model")
    with pytest.raises(LlmError, match=r"no connection \(.*refused.*\); start the server"):
        client.complete(request())
    client.close()


def test_no_answer_in_time(server):
    server.delay_s = 3
    client = OpenAiChat(server.url, "test-model", timeout_s=0.1)
    started = time.monotonic()
    with pytest.raises(LlmError, match=r"no answer within 0\.1 s; raise the timeout"):
        client.complete(request())
    assert time.monotonic() - started < 2
    client.close()


@pytest.mark.parametrize(
    ("behaviour", "status", "text", "finish_reason"),
    [
        ("refusal", "refusal", "I cannot help with that.", "stop"),
        ("content_filter", "refusal", None, "content_filter"),
        ("length", "ok", '{"descripti', "length"),
        ("empty_length", "ok", "", "length"),
        ("surrogate", "ok", "broken ? text", "stop"),
    ],
)
def test_outcomes_that_are_no_errors(server, client, behaviour, status, text, finish_reason):
    server.behave = lambda number, body: behaviour
    reply = client.complete(request())
    assert (reply.status, reply.text, reply.finish_reason) == (status, text, finish_reason)


def test_usage_that_makes_no_sense_is_unknown(server, client):
    server.behave = lambda number, body: "odd_usage"
    reply = client.complete(request())
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
    assert reply.status == "ok"


@pytest.mark.parametrize("behaviour", ["status", "echo_key", "error_body", "null_content", "reset"])
def test_the_key_is_nowhere(server, client, tmp_path, behaviour):
    server.behave = lambda number, body: behaviour
    # The cut of long messages must not leave half a key either.
    server.status, server.error_message = 401, "x" * 190 + f" wrong key {KEY}"
    shown = repr(client) + str(client)
    with Ledger(tmp_path / "ledger") as ledger:
        try:
            shown += str(ledger.send(client, request()))
        except LlmError as error:
            shown += "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert server.requests[0][1]["authorization"].endswith(KEY)
    assert KEY not in shown
    assert KEY[:10] not in shown
    for path in tmp_path.iterdir():
        assert KEY.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("localhost:8000/v1", "is not a URL"),
        ("ftp://host/v1", "is not a URL"),
        ("https://me:secret@host/v1", "must hold no password"),
        ("https://host/v1?key=secret", "must hold no password"),
    ],
)
def test_base_url_is_checked_and_its_secrets_are_not_shown(endpoint, message):
    with pytest.raises(ValueError, match=message) as caught:
        OpenAiChat(endpoint, "test-model")
    assert "secret" not in str(caught.value)
