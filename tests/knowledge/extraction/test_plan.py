"""The plan: what would be sent and cost, without a single request."""

import json
import re

import pandas as pd
import pytest

from artifacts.store import Store
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.extraction.parse import check_coverage
from knowledge.extraction.plan import plan
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Stopped
from knowledge.llm.options import AskingOptions, BatchOptions, SendOptions
from tests.llm_server import LlmServer

NAMES = ["run", "walk", "jump", "sit", "stand", "wave", "clap", "bow"]


def describe(body):
    label = re.search(r"distinguishing (.*) in a video", str(body["messages"]))[1]
    return json.dumps({"description": f"A person doing {label}."})


@pytest.fixture
def world(tmp_path):
    store = Store(tmp_path / "store")
    frame = pd.DataFrame({"class_id": range(8), "name": NAMES, "group": "all"})
    classes = register_classes(store, "demo", frame).artifact
    with LlmServer(answer=describe) as server, Ledger(tmp_path / "ledger") as ledger:
        model = OpenAiChat(server.url, "m")
        yield store, classes, model, ledger, server
        model.close()


def test_a_plan_sends_nothing_and_bounds_what_is_then_charged(world):
    store, classes, model, ledger, server = world
    planned = plan(store, classes, DescriptionConfig(), model, ledger, AskingOptions())
    assert server.num_requests == 0
    assert (planned.num_requests, planned.num_kept, planned.num_calls) == (8, 0, 8)
    assert 0 < planned.likely.tokens < planned.most.tokens
    assert planned.likely.usd is planned.most.usd is None
    ask(store, classes, DescriptionConfig(), model, ledger)
    assert server.num_requests == planned.num_calls
    assert ledger.charged().tokens <= planned.most.tokens
    again = plan(store, classes, DescriptionConfig(), model, ledger, AskingOptions())
    assert (again.num_kept, again.num_calls, again.most.tokens) == (8, 0, 0)


def test_what_the_ledger_holds_is_not_planned_again(world):
    store, classes, model, ledger, server = world
    first = plan(store, classes, DescriptionConfig(), model, ledger, AskingOptions())
    cap = first.most.tokens // 2
    config = AskingOptions(send=SendOptions.model_validate({"cap": {"max_tokens": cap}}))
    server.behave = lambda number, body: "no_usage"  # so every call stays charged in full
    with pytest.raises(Stopped):
        ask(store, classes, DescriptionConfig(), model, ledger, config=config)
    sent = server.num_requests
    rest = plan(store, classes, DescriptionConfig(), model, ledger, AskingOptions())
    assert 0 < sent < 8
    assert (rest.num_kept, rest.num_calls) == (sent, 8 - sent)
    assert server.num_requests == sent


def test_a_class_list_without_a_question_is_told(world):
    store, _, model, ledger, server = world
    frame = pd.DataFrame({"class_id": [0], "name": ["run"], "group": "all"})
    classes = register_classes(store, "one", frame).artifact
    told = r"classes/one@\w+: its 1 classes lead to no cooccurrence question; give at least two"
    with pytest.raises(ValueError, match=told):
        plan(store, classes, CooccurrenceConfig(), model, ledger, AskingOptions())
    with pytest.raises(ValueError, match=told):
        ask(store, classes, CooccurrenceConfig(), model, ledger)
    assert server.num_requests == 0


@pytest.mark.parametrize(("answered", "all_classes", "least"), [(28, 50, 0.56), (7, 25, 0.28)])
def test_coverage_is_compared_exactly(world, answered, all_classes, least):
    _, classes, _, _, _ = world
    check_coverage(classes, answered, all_classes, least)
    with pytest.raises(ValueError, match=f"usable replies for {answered - 1} of {all_classes}"):
        check_coverage(classes, answered - 1, all_classes, least)


def test_what_another_ledger_paid_for_meanwhile_is_taken(world, tmp_path, caplog):
    store, classes, model, ledger, server = world
    made = []

    def answer(body):
        if not made:
            made.append(None)
            with Ledger(tmp_path / "other") as other:
                made.append(ask(store, classes, DescriptionConfig(), model, other).artifact)
        return describe(body).replace("person", f"person ({server.num_requests})")

    server.answer = answer
    outcome = ask(store, classes, DescriptionConfig(), model, ledger)
    assert (outcome.made, outcome.artifact.ref) == (False, made[1].ref)
    assert outcome.work["llm_calls"] == 8
    assert "was published by another process meanwhile and is used" in caplog.text
    assert not list(store.drafts.iterdir())
    assert len(store.published("llm_calls")) == 1


def test_money_needs_a_price_and_batches_are_cheaper(world, tmp_path):
    store, classes, model, ledger, _ = world
    price = {"prompt": 1, "completion": 4, "batch": 0.5}
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"version": "v", "prices": {"127.0.0.1": {"m": price}}}))
    each = plan(store, classes, CooccurrenceConfig(), model, ledger, AskingOptions(prices=path))
    config = AskingOptions(prices=path, batch=BatchOptions())
    batched = plan(store, classes, CooccurrenceConfig(), model, ledger, config)
    assert each.most.usd == pytest.approx(2 * batched.most.usd)
    assert each.num_calls == 40
    tokens = each.most.tokens
    assert tokens * 1e-6 < each.most.usd < tokens * 4e-6
