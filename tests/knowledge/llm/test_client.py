"""The client against a real server: what is sent, over which connection, and what never leaks."""

import socket
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Dialect, LlmError, Sampling
from knowledge.llm.options import RetryOptions, SendOptions
from knowledge.llm.sender import Sender
from tests.knowledge.asking import KEY
from tests.knowledge.llm.calling import request
from tests.llm_server import DRIBBLE_S

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def test_a_reply(server, client):
    reply = client.complete(request(), Dialect())
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
@pytest.mark.parametrize("form", ["json_schema", "json_object", "text"])
@pytest.mark.parametrize("limit", ["max_completion_tokens", "max_tokens"])
def test_what_is_sent_is_exactly_the_body(server, client, changes, form, limit):
    asked, dialect = request(**changes), Dialect(response_format=form, limit=limit)
    client.complete(asked, dialect)
    ((path, headers, body),) = server.requests
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["content-type"] == "application/json"
    assert body == asked.body("test-model", dialect)
    assert ("response_format" in body) == ("reply_schema" in changes and form != "text")
    assert (limit in body) == ("sampling" in changes)


def test_the_environment_is_not_read(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-from-the-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-from-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-the-environment/v1")
    client = OpenAiChat(server.url, "test-model")
    client.complete(request(), Dialect())
    client.close()
    assert "from-the-environment" not in str(server.requests)


def test_a_proxy_of_the_environment_is_used(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = OpenAiChat("http://nowhere.invalid/v1", "test-model")
    assert client.complete(request(), Dialect()).status == "ok"
    client.close()
    ((path, headers, _),) = server.requests
    assert path == "http://nowhere.invalid/v1/chat/completions"
    assert headers["host"] == "nowhere.invalid"


def test_headers_are_those_of_the_openai_client(server, client):
    client.complete(request(), Dialect())
    client.call(lambda openai: openai.post("/chat/completions", cast_to=str, body={"model": "m"}))
    (_, ours, _), (_, theirs, _) = server.requests
    by_call = {"content-length", "accept-encoding", "connection", "x-stainless-retry-count"}
    by_call.add("x-stainless-read-timeout")
    assert set(theirs) - set(ours) <= by_call
    assert {name: theirs[name] for name in set(ours) - by_call} == {
        name: ours[name] for name in set(ours) - by_call
    }


def test_calls_one_after_another_share_a_connection(server, client, monkeypatch):
    opened = []
    connect = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *a, **k: opened.append(a) or connect(*a, **k)
    )
    for _ in range(3):
        client.complete(request(), Dialect())
    assert len(opened) == 1
    server.delay_s = 0.5
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.complete(request(), Dialect()), range(4)))
    assert server.most_in_flight == 4
    assert len(opened) == 4


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    client = OpenAiChat(url, "test-model")
    with pytest.raises(
        LlmError, match=r"no connection \(.*refused.*\); start the server"
    ) as caught:
        client.complete(request(), Dialect())
    assert caught.value.is_transient
    assert not caught.value.may_be_billed  # nothing was sent
    client.close()


def test_no_answer_in_time(server):
    server.delay_s = 3
    client = OpenAiChat(server.url, "test-model", timeout_s=0.1)
    with pytest.raises(LlmError, match=r"no answer within 0\.1 s; raise the timeout") as caught:
        client.complete(request(), Dialect())
    assert caught.value.is_transient
    assert caught.value.may_be_billed
    client.close()


def test_a_body_that_dribbles_is_waited_for(server, client):
    server.behave = lambda number, body: "slow_body"
    reply = client.complete(request(), Dialect())
    assert reply.text == '{"description": "legs"}'
    assert reply.duration_s >= 9 * DRIBBLE_S


@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_body_that_dribbles_for_too_long(server, monkeypatch, through_proxy):
    if through_proxy:
        monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
    server.behave = lambda number, body: "slow_body"
    url = "http://nowhere.invalid/v1" if through_proxy else server.url
    client = OpenAiChat(url, "test-model", deadline_s=4 * DRIBBLE_S)
    with pytest.raises(LlmError, match=r"no whole answer within 0\.2 s; raise the dead") as caught:
        client.complete(request(), Dialect())
    assert caught.value.is_transient
    assert caught.value.may_be_billed
    assert server.num_requests == 1
    client.close()


def test_a_redirect_is_followed_as_by_the_openai_client(server, client):
    server.behave = lambda number, body: "moved" if number < 3 else None
    assert client.complete(request(), Dialect()).text == '{"description": "legs"}'
    assert [path for path, _, _ in server.requests] == [
        "/v1/chat/completions",
        "/v1/chat/completions",
        "/v1/elsewhere",
    ]


def test_a_connection_that_was_closed_meanwhile_is_not_used(server, client):
    server.behave = lambda number, body: "closed"
    for _ in range(3):
        assert client.complete(request(), Dialect()).status == "ok"
        time.sleep(0.1)  # the server closes it without having said so
    assert server.num_requests == 3


def test_an_encoding_that_was_not_asked_for(server, client):
    server.behave = lambda number, body: "gzip"
    assert client.complete(request(), Dialect()).text == '{"description": "legs"}'


@pytest.mark.parametrize("behaviour", ["401", "echo_key", "error_body", "null_content", "reset"])
def test_the_key_is_nowhere(server, client, tmp_path, behaviour):
    server.behave = lambda number, body: behaviour
    # The cut of long messages must not leave half a key either.
    server.error_message = "x" * 190 + f" wrong key {KEY}"
    shown = repr(client) + str(client)
    with Ledger(tmp_path / "ledger") as ledger:
        sender = Sender(client, ledger, SendOptions(retry=RetryOptions(retries=0)))
        try:
            shown += str(sender.answer(request()))
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
        ("https://host/v1#", "must hold no password"),
        ("https://me:secret@host:x y", "must hold no password"),
        ("https://ho st/v1", "is not a URL"),
        ("https://host/v1\n/more", "is not a URL"),
        ("https://host:abc/v1", "is not a URL"),
        ("https://host:99999/v1", "is not a URL"),
        ("https://[::1/v1", "is not a URL"),
        ("https:///v1", "is not a URL"),
        ("https://:80/v1", "is not a URL"),
        ("", "is not a URL"),
    ],
)
def test_base_url_is_checked_and_its_secrets_are_not_shown(endpoint, message):
    with pytest.raises(ValueError, match=message) as caught:
        OpenAiChat(endpoint, "test-model")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-\u00fc-0123456789", "sk-0123456789\n"])
def test_a_key_that_no_header_can_hold(key):
    with pytest.raises(ValueError, match="API key holds characters") as caught:
        OpenAiChat("http://host/v1", "test-model", key)
    assert "0123456789" not in str(caught.value)


def test_space_around_the_base_url_is_no_part_of_it():
    assert OpenAiChat(" https://host/v1/\n", "test-model").endpoint == "https://host/v1"


def test_a_header_that_http_does_not_allow_is_never_sent(server):
    client = OpenAiChat(server.url, "test-model", "sk-0123456789 ")
    with pytest.raises(LlmError, match="check the API key for odd characters") as caught:
        client.complete(request(), Dialect())
    assert not caught.value.may_be_billed
    assert not caught.value.is_transient
    assert "0123456789" not in str(caught.value)
    assert server.num_requests == 0
    client.close()


@pytest.mark.parametrize(("key", "shown"), [("sk-123", "***"), ("sk-12", "sk-12")])
def test_keys_of_six_characters_are_hidden(server, key, shown):
    server.behave = lambda number, body: "echo_key"
    client = OpenAiChat(server.url, "test-model", key)
    assert f"you sent Bearer {shown} and" in client.complete(request(), Dialect()).text
    client.close()
