"""Extraction: every attempt a row, nothing answered is sent again, drops counted by reason."""

import json
import logging
import os
import re
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from artifacts.provenance import canonical_json
from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import register_classes
from knowledge.extraction import AskConfig, ask, check_calls, check_coverage, parse
from knowledge.kinds.cooccurrence import (
    CooccurrenceConfig,
    CooccurrenceQuestion,
    CooccurrenceReply,
    count_votes,
)
from knowledge.kinds.description import DescriptionConfig, DescriptionReply
from knowledge.llm.budget import Cap
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.limits import LimitsConfig
from knowledge.llm.messages import LlmError, Sampling, Stopped
from knowledge.llm.recorded import RecordedReplies
from knowledge.llm.sender import RetryConfig, SendConfig
from knowledge.question import read_classes
from knowledge.reading import Vocabulary
from tests.llm_server import LlmServer

KEY = "sk-test-0123456789abcdef"
NAMES = ["run", "walk", "jump", "sit", "stand", "wave", "clap", "bow"]


def described(body):
    """The class a request asks about, first asked or again."""
    return re.search(r"distinguishing (.*) in a video", body["messages"][1]["content"])[1]


def describe(body):
    label = described(body)
    return json.dumps({"description": f"A person doing {label}."})


def fast(workers=8, attempts=3, **changes):
    retry = RetryConfig(attempts=attempts, pause_s=0.01)
    send = SendConfig(limits=LimitsConfig(concurrency=workers), retry=retry, **changes)
    return AskConfig(send=send)


def publish_classes(store, names=NAMES, group="all"):
    classes = pd.DataFrame({"class_id": range(len(names)), "name": names, "group": group})
    return register_classes(store, "demo", classes).artifact


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def classes(store):
    return publish_classes(store)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@pytest.fixture
def server():
    with LlmServer(answer=describe) as server:
        yield server


@pytest.fixture
def model(server):
    model = OpenAiChat(server.url, "test-model", KEY, timeout_s=10)
    yield model
    model.close()


def test_every_answer_is_a_row_in_the_order_of_the_requests(store, classes, ledger, server, model):
    seen = []
    outcome = ask(store, classes, DescriptionConfig(), model, ledger, lambda *n: seen.append(n))
    assert outcome.made
    assert outcome.work == {"llm_calls": 8, "llm_replies_reused": 0}
    assert seen == [(number, 8) for number in range(1, 9)]
    rows = outcome.artifact.read().to_pylist()
    assert [row["class_id"] for row in rows] == list(range(8))
    sent = {canonical_json(body) for _, _, body in server.requests}
    for row, name in zip(rows, NAMES, strict=True):
        assert row["request"] in sent
        assert json.loads(row["reply"]) == {"description": f"A person doing {name}."}
        assert (row["status"], row["reask"], row["round"], row["group"]) == ("ok", 0, 1, "sta")
        assert (row["endpoint"], row["model"]) == (server.url, "test-model")
    report = outcome.artifact.manifest.report
    assert (report["prompt_tokens"], report["completion_tokens"]) == (88, 56)
    assert (report["attempts"], report["possibly_billed"]) == (8, 0)
    assert report["statuses"] == {"ok": 8}


def test_the_same_question_is_found_by_key(store, classes, ledger, server, model):
    first = ask(store, classes, DescriptionConfig(), model, ledger)
    again = ask(store, classes, DescriptionConfig(), model, ledger)
    assert (again.made, again.work, again.artifact.ref) == (False, {}, first.artifact.ref)
    assert server.num_requests == 8


def test_answered_requests_are_reused_by_another_question(store, classes, ledger, server, model):
    ask(store, classes, DescriptionConfig(), model, ledger)
    more = publish_classes(store, [*NAMES, "dance"])
    outcome = ask(store, more, DescriptionConfig(), model, ledger)
    assert outcome.work == {"llm_calls": 1, "llm_replies_reused": 8}
    assert outcome.artifact.manifest.num_rows == server.num_requests == 9


def test_rounds_are_sent_apart(store, classes, ledger, server, model):
    server.answer = lambda body: '{"actions": []}'
    config = CooccurrenceConfig(rounds=3, min_votes=2)
    outcome = ask(store, classes, config, model, ledger)
    assert outcome.work["llm_calls"] == server.num_requests == 24
    prompts = {body["messages"][-1]["content"] for _, _, body in server.requests}
    assert len(prompts) == 24


def test_settings_of_the_votes_ask_nothing_anew(store, classes, ledger, server, model):
    server.answer = lambda body: '{"actions": []}'
    first = ask(store, classes, CooccurrenceConfig(), model, ledger)
    other = ask(store, classes, CooccurrenceConfig(top_k=3, keep=2, min_votes=1), model, ledger)
    assert other.artifact.ref == first.artifact.ref


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_a_failure_publishes_nothing_and_keeps_what_was_answered(
    store, classes, ledger, server, model, workers
):
    server.behave = lambda number, body: "401" if described(body) == "jump" else None
    with pytest.raises(LlmError) as caught:
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(workers))
    answered = 7
    assert re.search(
        rf"{answered} of 8 requests are answered and kept; status 401: something broke; "
        "check the API key, then the same command goes on from there",
        str(caught.value),
    )
    assert store.published("llm_calls") == []
    server.behave = lambda number, body: None
    before = server.num_requests
    outcome = ask(store, classes, DescriptionConfig(), model, ledger)
    assert outcome.work == {"llm_calls": 8 - answered, "llm_replies_reused": answered}
    assert server.num_requests - before == 8 - answered
    report = outcome.artifact.manifest.report
    assert report["statuses"] == {"error": 1, "ok": 8}
    assert report["possibly_billed"] == 0  # a refused request costs nothing


@pytest.mark.parametrize("behaviour", ["429", "500", "reset"])
def test_the_rows_do_not_depend_on_failures(tmp_path, server, model, behaviour):
    hashes = set()
    for run in ("undisturbed", "disturbed"):
        failed = Counter()

        def behave(number, body, failed=failed, run=run):
            failed["jump"] += described(body) == "jump"
            disturb = run == "disturbed" and described(body) == "jump" and failed["jump"] <= 2
            return behaviour if disturb else None

        server.behave, server.requests = behave, []
        store = Store(tmp_path / run)
        with Ledger(tmp_path / f"{run}.sqlite") as ledger:
            outcome = ask(
                store, publish_classes(store), DescriptionConfig(), model, ledger, config=fast(2)
            )
        disturbed = 2 * (run == "disturbed")
        assert outcome.work == {"llm_calls": 8 + disturbed, "llm_replies_reused": 0}
        assert server.num_requests == 8 + disturbed
        report = outcome.artifact.manifest.report
        assert report["statuses"].get("error", 0) == disturbed
        assert report["possibly_billed"] == (0 if behaviour == "429" else disturbed)
        hashes.add((outcome.artifact.manifest.key, outcome.artifact.manifest.content_hash))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("behaviour", "attempts"), [("400", 6), ("401", 1), ("404", 2), ("500", 6), ("html", 1)]
)
def test_an_error_that_stays_is_given_up(store, ledger, server, model, behaviour, attempts):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError, match="0 of 1 requests are answered and kept; status"):
        ask(
            *(store, publish_classes(store, ["run"]), DescriptionConfig(), model, ledger),
            config=fast(),
        )
    assert server.num_requests == attempts


@pytest.mark.parametrize("behaviour", ["500", "insufficient_quota"])
def test_an_endpoint_that_dies_is_given_up_soon(store, ledger, server, model, behaviour):
    classes = publish_classes(store, [f"action {number}" for number in range(100)])
    server.behave = lambda number, body: behaviour if number > 1 else None
    with pytest.raises(LlmError, match="1 of 100 requests are answered"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(4))
    assert 5 <= server.num_requests <= 1 + 8 * 3


@pytest.mark.parametrize("behaviour", ["null_content", "no_choices", "broken_json", "html"])
def test_an_answer_that_stays_unreadable_is_a_drop(
    store, classes, ledger, server, model, behaviour
):
    server.behave = lambda number, body: behaviour if described(body) == "jump" else None
    with pytest.raises(LlmError, match="7 of 8 requests are answered and kept"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2))
    assert server.num_requests == 8
    calls = ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2)).artifact
    assert server.num_requests == 9
    assert parse(calls, DescriptionConfig(), DescriptionReply).drops == {"no_reply": 1}
    assert calls.manifest.report["statuses"] == {"error": 1, "no_reply": 1, "ok": 7}
    key = next(row["request_key"] for row in calls.read().to_pylist() if row["status"] != "ok")
    kept = [attempt.reply for attempt in ledger.attempts(key)]
    assert kept[0] == kept[1]
    assert kept[0].startswith("<html>" if behaviour == "html" else "{")


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


def test_what_a_filter_refuses_is_a_drop(store, classes, ledger, server, model):
    server.behave = lambda number, body: "filtered" if described(body) == "run" else None
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    assert parse(calls, DescriptionConfig(), DescriptionReply).drops == {"refusal": 1}
    assert server.num_requests == 8
    assert calls.manifest.report["possibly_billed"] == 0


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


def test_five_failures_in_a_row_are_waited_for(store, ledger, server, model):
    classes = publish_classes(store, [f"action {number}" for number in range(20)])
    server.behave = lambda number, body: "401" if number > 1 else None
    with pytest.raises(LlmError, match="1 of 20 requests are answered"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(1))
    assert server.num_requests == 1 + 5


def test_a_long_wait_stops_resumably(store, classes, ledger, server, model):
    server.behave = lambda number, body: "429_date" if number == 4 else None
    with pytest.raises(Stopped, match=r"asks to wait .*; \d of 8 requests are answered and kept"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2))
    before = server.num_requests
    assert before <= 5
    assert store.published("llm_calls") == []
    outcome = ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2))
    assert outcome.work["llm_calls"] == server.num_requests - before
    assert outcome.work["llm_replies_reused"] == 8 - outcome.work["llm_calls"]


def test_a_cap_stops_resumably_and_a_higher_one_goes_on(store, classes, ledger, server, model):
    server.usage = lambda body, text: (300, 100)
    small = fast(4, cap=Cap(max_tokens=2500))
    with pytest.raises(Stopped, match=r"the cap of 2500 tokens .*; \d of 8 requests are answered"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=small)
    assert 1 <= server.num_requests < 8
    outcome = ask(
        store,
        classes,
        DescriptionConfig(),
        model,
        ledger,
        config=fast(4, cap=Cap(max_tokens=99999)),
    )
    assert outcome.artifact.manifest.num_rows == server.num_requests == 8


def test_a_cap_in_money_without_a_price_is_an_error_before_anything_is_sent(
    store, classes, ledger, server, model, tmp_path
):
    with pytest.raises(ValueError, match="needs the price"):
        ask(
            *(store, classes, DescriptionConfig(), model, ledger),
            config=fast(cap=Cap(max_usd=1)),
        )
    assert server.num_requests == 0
    prices = tmp_path / "prices.json"
    prices.write_text(
        '{"version": "1", "prices": {"127.0.0.1": {"test-model": {"prompt": 1, "completion": 2}}}}'
    )
    config = fast(cap=Cap(max_usd=1)).model_copy(update={"prices": prices})
    outcome = ask(store, classes, DescriptionConfig(), model, ledger, config=config)
    assert outcome.artifact.manifest.report["prices"]["version"] == "1"


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


def test_an_unforeseen_error_is_not_swallowed(store, classes, ledger, model, monkeypatch):
    complete = model.complete

    def break_at_sit(request, dialect):
        return 1 / 0 if request.class_name == "sit" else complete(request, dialect)

    monkeypatch.setattr(model, "complete", break_at_sit)
    with pytest.raises(ZeroDivisionError):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(1))
    assert store.published("llm_calls") == []


def test_paid_replies_need_a_ledger(store, classes, model):
    with pytest.raises(ValueError, match="asking needs a ledger"):
        ask(store, classes, DescriptionConfig(), model, None)


def test_names_that_lead_to_one_question(store, ledger, model):
    classes = publish_classes(store, ["brush hair", "brush_hair"])
    with pytest.raises(
        ValueError, match=r"0 \('brush hair'\) and 1 \('brush_hair'\) lead to the same"
    ):
        ask(store, classes, DescriptionConfig(), model, ledger)


_CHILD = """
import sys
from pathlib import Path
from artifacts.store import Store
from knowledge.extraction import AskConfig, ask
from knowledge.kinds.cooccurrence import CooccurrenceQuestion
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.limits import LimitsConfig
from knowledge.llm.sender import SendConfig

root, url = Path(sys.argv[1]), sys.argv[2]
store = Store(root / "store")
with Ledger(root / "ledger.sqlite") as ledger:
    model = OpenAiChat(url, "test-model")
    config = AskConfig(send=SendConfig(limits=LimitsConfig(concurrency=4)))
    ask(store, store.get("classes/demo"), CooccurrenceQuestion(), model, ledger, config=config)
"""


def test_two_processes_pay_once(tmp_path, store, server):
    publish_classes(store, [f"action {number}" for number in range(6)])
    server.answer = lambda body: '{"actions": []}'
    server.delay_s = 0.02
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path), server.url],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for _ in range(2)
    ]
    assert [child.wait(120) for child in children] == [0, 0]
    assert server.num_requests == 30
    assert len(store.published("llm_calls")) == 1


@pytest.mark.parametrize("same_question", [True, False])
def test_two_extractions_with_one_ledger_pay_once(tmp_path, store, server, model, same_question):
    first = publish_classes(store)
    second = first if same_question else publish_classes(store, [*NAMES, "dance"])
    server.delay_s = 0.05
    barrier = threading.Barrier(2, timeout=30)

    def run(classes):
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            barrier.wait()
            return ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2))

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, [first, second]))
    assert server.num_requests == len({canonical_json(body) for _, _, body in server.requests})
    assert sum(outcome.work.get("llm_calls", 0) for outcome in outcomes) == server.num_requests
    assert sorted(outcome.made for outcome in outcomes) == [not same_question, True]


def test_recorded_replies_leave_the_same_bytes_twice(tmp_path):
    hashes = set()
    for run in ("a", "b"):
        store = Store(tmp_path / run)
        classes = register_classes(store, "hmdb51", class_list("hmdb51")).artifact
        model = RecordedReplies(class_list("hmdb51")["name"])
        outcome = ask(store, classes, DescriptionConfig(), model, None)
        assert outcome.work == {"recorded_replies": 51, "llm_replies_reused": 0}
        hashes.add(outcome.artifact.manifest.content_hash)
    assert len(hashes) == 1


def test_unrecorded_questions_are_counted_rows(store):
    classes = publish_classes(store, ["run", "fly to Mars"])
    outcome = ask(store, classes, DescriptionConfig(), RecordedReplies(["run", "x"]), None)
    report = outcome.artifact.manifest.report
    assert report["statuses"] == {"no_reply": 1, "ok": 1}
    assert report["asked_again"] == 0  # they are always the same
    assert parse(outcome.artifact, DescriptionConfig(), DescriptionReply).drops == {"no_reply": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"description": "legs"}', None),
        ('```json\n{"description": "legs"}\n```', None),
        ('Sure:\n```\n{"description": "legs"}\n```\nBye', None),
        ('  {"description": "legs", "why": "because"}\n', None),
        ("", "empty"),
        (" \n", "empty"),
        ("legs", "not_json"),
        ('{"description": "le', "not_json"),
        ('```json\n{"description": "legs"}', None),
        ('<think>Is {"a": 1} it?</think>\nIt is {"description": "legs"}.', None),
        ('{"description": "legs"} or {"description": "arms"}', "not_json"),
        ('{"description": "legs", "description": "arms"}', "not_json"),
        ('{"description": NaN}', "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"text": "legs"}', "wrong_form"),
        ('{"description": null}', "wrong_form"),
        ('["legs"]', "wrong_form"),
    ],
)
def test_replies_are_read_or_dropped_with_a_reason(store, ledger, server, model, text, reason):
    classes = publish_classes(store, ["run"])
    server.answer = lambda body: text
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert parsed.drops == ({reason: 1} if reason else {})
    assert [item.reply.description for item in parsed.replies] == ([] if reason else ["legs"])
    assert parsed.num_reasks == (2 if reason else 0)
    assert server.num_requests == (3 if reason else 1)


@pytest.mark.parametrize(
    ("behaviour", "reason", "asked"),
    [
        ("length", "truncated", 3),
        ("empty_length", "truncated", 3),
        ("refusal", "refusal", 1),
        ("content_filter", "refusal", 1),
        ("prose", "not_json", 3),
        ("nan", "not_json", 3),
        ("wrong_form", "wrong_form", 3),
        ("inner_surrogate", "not_json", 3),
        ("surrogate", "not_json", 3),
        ("fenced", None, 1),
        ("fenced_crlf", None, 1),
    ],
)
def test_outcomes_are_drops(store, ledger, server, model, behaviour, reason, asked):
    classes = publish_classes(store, ["run"])
    # Its first half is valid JSON: cut replies are dropped even where they could be read.
    whole = '{"description": "x"}'
    server.answer = lambda body: whole + " " * len(whole)
    server.behave = lambda number, body: behaviour
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert parsed.drops == ({reason: 1} if reason else {})
    assert parsed.num_requests == 1
    assert server.num_requests == calls.manifest.num_rows == asked
    assert calls.manifest.report["asked_again"] == asked - 1


def test_what_was_wrong_is_told_at_most_twice(store, ledger, server, model):
    replies = iter(["legs", '{"description": 7}', '{"text": "legs"}'])
    server.answer = lambda body: next(replies)
    calls = ask(store, publish_classes(store, ["run"]), DescriptionConfig(), model, ledger).artifact
    first, second, third = (body["messages"] for _, _, body in server.requests)
    assert second[:2] == third[:2] == first
    assert second[2:] == third[2:4]
    told = [(message["role"], message["content"]) for message in third[2:]]
    assert told[0] == ("assistant", "legs")
    assert re.fullmatch(r"That answer .*: the answer is not JSON: .* Answer again, .*", told[1][1])
    assert told[2] == ("assistant", '{"description": 7}')
    assert ": description must be a string. " in told[3][1]
    assert [row["reask"] for row in calls.read().to_pylist()] == [0, 1, 2]
    # The last one counts, and the rows are found again without a call.
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert (parsed.drops, parsed.num_reasks) == ({"wrong_form": 1}, 2)


def test_a_question_put_again_may_succeed(store, ledger, server, model):
    server.behave = lambda number, body: "prose" if number == 1 else None
    calls = ask(store, publish_classes(store, ["run"]), DescriptionConfig(), model, ledger).artifact
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert [item.reply.description for item in parsed.replies] == ["A person doing run."]
    assert (parsed.drops, parsed.num_reasks, parsed.num_requests) == ({}, 1, 1)


def test_what_was_cut_off_gets_twice_the_room_never_the_same(store, ledger, server, model):
    server.behave = lambda number, body: "length"
    config = DescriptionConfig(sampling=Sampling(max_completion_tokens=40))
    ask(store, publish_classes(store, ["run"]), config, model, ledger)
    assert [body["max_completion_tokens"] for _, _, body in server.requests] == [40, 80, 160]
    assert len({canonical_json(body["messages"]) for _, _, body in server.requests}) == 1


def test_without_a_limit_what_was_cut_off_is_not_asked_again(store, ledger, server, model):
    server.behave = lambda number, body: "length"
    ask(store, publish_classes(store, ["run"]), DescriptionConfig(sampling={}), model, ledger)
    assert server.num_requests == 1


def test_asking_again_goes_on_after_a_failure(store, classes, ledger, server, model):
    asked = Counter()

    def behave(number, body):
        again = len(body["messages"]) > 2
        asked[again] += 1
        return ("401" if asked[True] > 2 else None) if again else "prose"

    server.behave = behave
    with pytest.raises(LlmError, match="10 of 16 requests are answered"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(1))
    server.behave = lambda number, body: None
    before = server.num_requests
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    assert server.num_requests - before == 6
    assert [row["reask"] for row in calls.read().to_pylist()] == [0, 1] * 8


@pytest.mark.parametrize(
    ("behaviour", "votes", "drops"),
    [
        (None, 2, {}),
        ("respelled", 2, {}),
        ("invented", 2, {}),
        ("duplicate_keys", 0, {"not_json": 12}),
        ("inner_surrogate", 0, {"not_json": 12}),
    ],
)
def test_names_of_replies(store, ledger, server, model, behaviour, votes, drops):
    classes = publish_classes(store, ["run fast", "walk", "jump", "sit"])
    server.answer = lambda body: '{"actions": ["run fast", "walk", "jump"]}'
    server.behave = lambda number, body: behaviour
    question = CooccurrenceQuestion(rounds=3)
    calls = ask(store, classes, question, model, ledger).artifact
    parsed = parse(calls, question, CooccurrenceReply)
    assert parsed.drops == drops
    if not drops:
        assert parsed.repeated == 1.0  # all rounds say the same
        tally = count_votes(parsed.replies, read_classes(classes), 5)
        assert (tally.votes[3] == [3, 3, 3, 0]).all()
        assert tally.names["invented"] == (12 if behaviour == "invented" else 0)


def test_replies_that_only_invent_are_asked_again_or_counted(store, ledger, server, model):
    classes = publish_classes(store, ["run", "walk"])
    server.answer = lambda body: '{"actions": []}'
    server.behave = lambda number, body: "only_inventions"
    question = CooccurrenceQuestion(rounds=1)
    calls = ask(store, classes, question, model, ledger).artifact
    parsed = parse(calls, question, CooccurrenceReply)
    tally = count_votes(parsed.replies, read_classes(classes), 5)
    assert not tally.votes.any()
    assert (parsed.drops + tally.drops).total() == 2


def test_answers_that_other_settings_needed_are_no_rows(store, ledger, server, model):
    classes = publish_classes(store, ["run", "walk"])
    ask(store, classes, Patient(patience=3), model, ledger)
    assert server.num_requests == 6
    outcome = ask(store, classes, Patient(patience=2), model, ledger)
    assert outcome.work == {"llm_calls": 0, "llm_replies_reused": 4}
    assert outcome.artifact.manifest.report["not_needed"] == 2
    assert server.num_requests == 6


class Patient(DescriptionConfig):
    """Asks three times, but only until enough replies are valid."""

    patience: int

    def requests(self, classes):
        return [
            request.model_copy(update={"round": number})
            for number in (1, 2, 3)
            for request in super(Patient, self).requests(classes)
        ]

    def waves(self, requests):
        return [[each for each in requests if each.round == number] for number in (1, 2, 3)]

    def still_open(self, request, earlier):
        return len(earlier) < self.patience


def test_coverage_is_demanded(store, classes, ledger, model):
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    check_coverage(calls, 6, 8, 0.75)
    with pytest.raises(ValueError, match=r"for 5 of 8 classes, 62\.5%, and 75\.0% are wanted"):
        check_coverage(calls, 5, 8, 0.75)


def test_replies_to_another_question_are_refused(store, classes, ledger, server, model):
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    check_calls(calls, classes, DescriptionConfig())
    with pytest.raises(ValueError, match="answers 'description', not 'cooccurrence'"):
        check_calls(calls, classes, CooccurrenceConfig())
    with pytest.raises(ValueError, match="other settings"):
        check_calls(calls, classes, DescriptionConfig(sampling=Sampling(temperature=1)))
    with pytest.raises(ValueError, match="another class list"):
        check_calls(calls, publish_classes(store, ["other"]), DescriptionConfig())


def test_names_match_by_spelling_only():
    vocabulary = Vocabulary({1: ["BrushHair"], 2: ["push (a person)"], 3: ["C"], 4: ["C++"]})
    names = ["brush hair", "push", "PUSH A PERSON!", "brush_hair", "comb hair", "c", "C++"]
    assert vocabulary.match(names) == ([1, 2, 4], {"invented": 3, "duplicate": 1})


def test_the_key_is_in_no_file(tmp_path, store, ledger, server, model, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    names = [f"action {number}" for number in range(40)]
    classes = publish_classes(store, names)
    behaviours = ["echo_key", "500", "html", "reset", "429_seconds", "broken_json", "401", None]
    server.error_message = f"{KEY} is wrong"
    shown = ""
    for first in range(len(behaviours)):
        server.behave = lambda number, body, first=first: behaviours[(number + first) % 8]
        try:
            ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2, attempts=1))
        except (LlmError, Stopped) as error:
            log = logging.getLogger("test")
            log.exception("failed")
            shown += "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert "Traceback" in shown
    server.behave = lambda number, body: "echo_key"
    ask(store, classes, DescriptionConfig(), model, ledger)
    assert all(headers["authorization"] == f"Bearer {KEY}" for _, headers, _ in server.requests)
    shown += caplog.text + "".join(capfd.readouterr())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    for artifact in store.published("llm_calls"):
        rows = str(artifact.read().to_pylist())
        assert "you sent Bearer ***" in rows
        shown += rows
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        shown += "".join(db.iterdump())
    for part in (KEY, KEY[3:-3]):
        assert part not in shown
        for path in files:
            assert part.encode() not in path.read_bytes()


def test_ctrl_c_stops_all_soon(store, ledger, server, model):
    classes = publish_classes(store, [f"action {number}" for number in range(200)])
    server.delay_s = 0.02

    def progress(done, total):
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(store, classes, DescriptionConfig(), model, ledger, progress, fast(4))
    assert server.num_requests < 40
