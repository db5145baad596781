"""The client against a real server: one attempt per call, every odd answer one typed error."""

import pytest

from knowledge.llm.client import retry_after_s
from knowledge.llm.messages import Dialect, LlmError
from tests.knowledge.asking import KEY
from tests.knowledge.llm.calling import request


@pytest.mark.parametrize(
    ("behaviour", "message", "is_transient", "may_be_billed"),
    [
        ("html", "something that is not JSON: '<html>.*; check the base URL", False, True),
        ("empty_body", "something that is not JSON: ''", False, True),
        ("broken_json", "something that is not JSON", False, True),
        ("error_body", "no chat completion: something broke", False, True),
        ("no_choices", "no chat completion", False, True),
        ("empty_choices", "no chat completion", False, True),
        ("odd_choices", "no chat completion", False, True),
        ("null_content", r"without content \(finish_reason 'stop'\)", False, True),
        ("status_html", "status 500: <html>.*; try again later", True, True),
        ("status", "status 500: something broke; try again later", True, True),
        ("reset", "no connection", True, True),
        ("reset_middle", "no connection", True, True),
        ("half_body", "no connection", True, True),
        ("insufficient_quota", "status 429: You exceeded.*; check the account's", False, False),
    ],
)
def test_odd_answers_are_one_error_in_one_line_after_one_attempt(
    server, client, behaviour, message, is_transient, may_be_billed
):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError, match=message) as caught:
        client.complete(request(), Dialect())
    assert str(caught.value).startswith(f"LLM endpoint {server.url}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.is_transient is is_transient
    assert caught.value.may_be_billed is may_be_billed
    assert server.num_requests == 1


@pytest.mark.parametrize(
    ("status", "is_transient"),
    [
        *((status, False) for status in (400, 401, 402, 403, 404, 422)),
        *((status, True) for status in (408, 409, 429, 500, 502, 503, 504)),
    ],
)
def test_error_statuses(server, client, status, is_transient):
    server.behave = lambda number, body: str(status)
    server.error_message = f"no, {KEY} is\nwrong " * 50
    with pytest.raises(LlmError, match=f"status {status}: no, .* is wrong") as caught:
        client.complete(request(), Dialect())
    assert caught.value.status_code == status
    assert caught.value.is_transient is is_transient
    assert caught.value.may_be_billed is (status >= 500)
    assert caught.value.retry_after_s is None
    assert len(str(caught.value)) < 500
    assert server.num_requests == 1


@pytest.mark.parametrize(
    ("behaviour", "least", "most"),
    [
        ("429_seconds", 1, 1),
        ("429_ms", 0.3, 0.3),
        ("429_date", 3000, 3600),
        ("429_past_date", 0, 0),
        ("429_absurd", 1e299, 1e301),
        ("503_seconds", 1, 1),
    ],
)
def test_how_long_to_wait_is_understood(server, client, behaviour, least, most):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError) as caught:
        client.complete(request(), Dialect())
    assert least <= caught.value.retry_after_s <= most


@pytest.mark.parametrize("behaviour", ["429_garbage", "429_no_date", "429_negative", "429"])
def test_a_wait_that_makes_no_sense_is_none(server, client, behaviour):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError, match="status 429") as caught:
        client.complete(request(), Dialect())
    assert caught.value.retry_after_s is None
    assert caught.value.is_transient


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "", "Mon, 01 Jan 0001 00:00:00 -9999"])
def test_odd_retry_after_values(value):
    assert retry_after_s({"retry-after": value}) is None


@pytest.mark.parametrize(
    ("behaviour", "status", "text", "finish_reason"),
    [
        ("refusal", "refusal", "I cannot help with that.", "stop"),
        ("content_filter", "refusal", None, "content_filter"),
        ("length", "ok", '{"descripti', "length"),
        ("empty_length", "ok", "", "length"),
        ("surrogate", "ok", "broken ? text", "stop"),
        ("parts", "ok", '{"description": "legs"}', "stop"),
        ("filtered", "refusal", "The prompt was filtered", "content_filter"),
        ("policy", "refusal", "This is against our policy", "content_filter"),
    ],
)
def test_outcomes_that_are_no_errors(server, client, behaviour, status, text, finish_reason):
    server.behave = lambda number, body: behaviour
    reply = client.complete(request(), Dialect())
    assert (reply.status, reply.text, reply.finish_reason) == (status, text, finish_reason)


@pytest.mark.parametrize(
    ("behaviour", "body"),
    [
        ("html", "<html><body>Welcome</body></html>"),
        ("empty_body", ""),
        ("error_body", '{"error": {"message": "something broke", "code": null}}'),
        ("500", None),
        ("reset", None),
    ],
)
def test_the_body_of_a_billed_answer_is_kept(server, client, behaviour, body):
    server.behave = lambda number, asked: behaviour
    with pytest.raises(LlmError) as caught:
        client.complete(request(), Dialect())
    assert caught.value.body == body


def test_thoughts_that_only_the_total_counts_are_billed(server, client):
    server.behave = lambda number, body: "thoughts_in_total"
    reply = client.complete(request(), Dialect())
    assert (reply.prompt_tokens, reply.completion_tokens) == (11, 1007)


def test_what_a_filter_refuses_costs_nothing(server, client):
    server.behave = lambda number, body: "filtered"
    reply = client.complete(request(), Dialect())
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)


@pytest.mark.parametrize("behaviour", ["odd_usage", "no_usage", "huge_usage"])
def test_usage_that_makes_no_sense_is_unknown(server, client, behaviour):
    server.behave = lambda number, body: behaviour
    reply = client.complete(request(), Dialect())
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
    assert reply.status == "ok"
