"""Sender: which dialect is spoken."""

import pytest

from knowledge.llm.messages import Dialect, LlmError, Sampling, ladder
from tests.knowledge.llm.sending import request, sender_of

FIRST = Dialect()


@pytest.mark.parametrize(
    ("behaviour", "num_asked", "expected"),
    [
        (None, 1, FIRST),
        ("fenced", 1, FIRST),
        ("no_json_schema", 2, Dialect(response_format="json_object")),
        ("no_json_schema_404", 2, Dialect(response_format="json_object")),
        ("no_json_schema_500", 4, Dialect(response_format="json_object")),
        ("no_response_format", 3, Dialect(response_format="text")),
        ("no_max_completion_tokens", 4, Dialect(limit="max_tokens")),
        ("plain_and_old", 6, Dialect(response_format="text", limit="max_tokens")),
    ],
)
def test_the_dialect_is_settled_once(server, model, ledger, behaviour, num_asked, expected):
    server.behave = lambda number, body: behaviour
    sender = sender_of(model, ledger)
    sender.settle(request())
    assert sender.dialect == expected
    assert server.num_requests == num_asked
    assert ledger.dialect(server.url, "m") == expected
    assert sender.answered(request()).status == "ok"  # the probe was a request to be sent anyway
    again = sender_of(model, ledger)
    again.settle(request(2))
    assert again.dialect == expected
    assert again.answer(request(2)).status == "ok"
    assert server.num_requests == num_asked + 1


@pytest.mark.parametrize("behaviour", ["400", "415", "422", "501"])
def test_an_endpoint_that_rejects_every_dialect(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    sender = sender_of(model, ledger, attempts=1)
    with pytest.raises(LlmError, match=f"status {behaviour}"):
        sender.settle(request())
    assert server.num_requests == len(list(ladder(request()))) == 6
    assert ledger.dialect(server.url, "m") is None


@pytest.mark.parametrize("behaviour", ["401", "404", "429_ms", "500", "503", "reset", "html"])
def test_other_errors_say_nothing_about_the_dialect(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError):
        sender_of(model, ledger, attempts=1).settle(request(), request(2))
    # Some gateways answer 404 or 500 to a field they do not know, so these are looked at once more.
    assert server.num_requests == (2 if behaviour in ("404", "500") else 1)
    assert ledger.dialect(server.url, "m") is None


def test_a_request_that_is_always_rejected_does_not_hide_the_dialect(server, model, ledger):
    def behave(number, body):
        return "400" if "run? 1" in body["messages"][0]["content"] else "no_json_schema"

    server.behave = behave
    sender = sender_of(model, ledger)
    sender.settle(request(), request(2), request(3))
    assert sender.dialect == Dialect(response_format="json_object")
    assert server.num_requests == 6 + 2


def test_three_requests_are_tried_in_every_dialect(server, model, ledger):
    server.behave = lambda number, body: "400"
    with pytest.raises(LlmError, match="status 400"):
        sender_of(model, ledger).settle(*(request(number) for number in range(1, 9)))
    assert server.num_requests == 3 * 6


@pytest.mark.parametrize("behaviour", ["filtered", "policy", "refusal"])
def test_a_refusal_does_not_settle_the_dialect(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    sender = sender_of(model, ledger)
    sender.settle(*(request(number) for number in range(1, 9)))
    assert sender.dialect == FIRST
    assert server.num_requests == 3
    assert ledger.dialect(server.url, "m") is None


@pytest.mark.parametrize("changes", [{"sampling": Sampling()}, {"reply_schema": None}])
def test_only_a_dialect_that_was_made_use_of_is_recorded(server, model, ledger, changes):
    sender = sender_of(model, ledger)
    sender.settle(request(**changes))
    assert ledger.dialect(server.url, "m") is None
    sender_of(model, ledger).settle(request(**changes))
    assert server.num_requests == 1


def test_only_dialects_that_differ_are_tried():
    plain = request(reply_schema=None, sampling=Sampling())
    assert list(ladder(plain)) == [FIRST]
    assert len(list(ladder(request(sampling=Sampling())))) == 3
    assert len(list(ladder(request(reply_schema=None)))) == 2
