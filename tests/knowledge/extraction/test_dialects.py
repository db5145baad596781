"""Extraction in a dialect: settled once per endpoint, and anew only if nothing is understood."""

import pytest

from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.llm.messages import LlmError
from tests.knowledge.asking import NAMES, described, fast, publish_classes


def test_an_unreadable_first_answer_does_not_settle_the_dialect(
    store, classes, ledger, server, model
):
    server.behave = lambda number, body: "null_content" if described(body) == "run" else None
    for _ in range(2):
        assert ledger.dialect(server.url, "test-model") is None
        try:
            calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
        except LlmError:
            continue
    assert calls.manifest.report["statuses"] == {"error": 1, "no_reply": 1, "ok": 7}
    assert server.num_requests == 9


def test_a_dialect_that_is_not_understood_any_more_is_settled_anew(
    store, classes, ledger, server, model
):
    ask(store, classes, DescriptionConfig(), model, ledger)
    server.behave = lambda number, body: "no_json_schema"
    more = publish_classes(store, ["dance", "bend", "fall"])
    calls = ask(store, more, DescriptionConfig(), model, ledger, config=fast(3)).artifact
    assert calls.manifest.report["statuses"] == {"ok": 3}
    assert ledger.dialect(server.url, "test-model").response_format == "json_object"
    assert server.num_requests == 8 + 3 + 1 + 3


def test_a_dialect_in_which_something_is_answered_stays(store, classes, ledger, server, model):
    ask(store, classes, DescriptionConfig(), model, ledger)
    before = ledger.dialect(server.url, "test-model")
    server.behave = lambda number, body: "no_json_schema"
    more = publish_classes(store, [*NAMES, "dance"])
    with pytest.raises(LlmError, match="8 of 9 requests are answered"):
        ask(store, more, DescriptionConfig(), model, ledger)
    assert ledger.dialect(server.url, "test-model") == before


@pytest.mark.parametrize("behaviour", ["no_json_schema", "no_response_format", "plain_and_old"])
def test_a_poorer_dialect_is_asked_for_once_and_found_by_key(
    store, classes, ledger, server, model, behaviour
):
    server.behave = lambda number, body: behaviour
    first = ask(store, classes, DescriptionConfig(), model, ledger)
    rejected = {"no_json_schema": 1, "no_response_format": 2, "plain_and_old": 5}[behaviour]
    assert first.work == {"llm_calls": 8 + rejected, "llm_replies_reused": 0}
    again = ask(store, classes, DescriptionConfig(), model, ledger)
    assert (again.made, again.artifact.ref) == (False, first.artifact.ref)
    more = publish_classes(store, [*NAMES, "dance"])
    assert ask(store, more, DescriptionConfig(), model, ledger).work["llm_calls"] == 1
    assert server.num_requests == 9 + rejected
