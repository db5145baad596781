"""Extraction: every attempt a row, nothing answered is sent again, drops counted by reason."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from pydantic import BaseModel

from artifacts.provenance import canonical_json
from artifacts.store import Store
from knowledge import extraction
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import register_classes
from knowledge.extraction import UNSEEN, Vocabulary, ask, check_calls, parse
from knowledge.kinds.cooccurrence import CooccurrenceConfig
from knowledge.kinds.description import DescriptionConfig
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.messages import LlmError
from knowledge.llm.recorded import RecordedReplies
from tests.llm_server import LlmServer

KEY = "sk-test-0123456789abcdef"
NAMES = ["run", "walk", "jump", "sit", "stand", "wave", "clap", "bow"]


def describe(body):
    label = re.search(r"distinguishing (.*) in a video", body["messages"][-1]["content"])[1]
    return json.dumps({"description": f"A person doing {label}."})


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


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(extraction, "RETRY_PAUSE_S", 0.01)


@pytest.fixture
def server():
    with LlmServer(answer=describe) as server:
        yield server


@pytest.fixture
def model(server):
    model = OpenAiChat(server.url, "test-model", KEY, timeout_s=10)
    yield model
    model.close()


def test_every_attempt_is_a_row_in_the_order_of_the_requests(store, classes, ledger, server, model):
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
        assert (row["status"], row["attempt"], row["round"], row["group"]) == ("ok", 1, 1, "")
        assert (row["endpoint"], row["model"]) == (server.url, "test-model")
        assert row["sent_at"] is not None
        assert row["duration_s"] > 0
    report = outcome.artifact.manifest.report
    assert (report["prompt_tokens"], report["completion_tokens"]) == (88, 56)


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
    server.behave = lambda number, body: "status" if "jump" in str(body) else None
    server.status = 400
    with pytest.raises(LlmError) as caught:
        ask(store, classes, DescriptionConfig(), model, ledger, max_workers=workers)
    answered = 2 if workers == 1 else 7
    assert re.search(
        rf"{answered} of 8 requests are answered and kept; status 400: something broke; "
        "check the model name.*, then the same command goes on from there",
        str(caught.value),
    )
    assert store.published("llm_calls") == []
    server.behave = lambda number, body: None
    before = server.num_requests
    outcome = ask(store, classes, DescriptionConfig(), model, ledger)
    assert outcome.work == {"llm_calls": 8 - answered, "llm_replies_reused": answered}
    assert server.num_requests - before == 8 - answered
    jump = [row for row in outcome.artifact.read().to_pylist() if row["class_id"] == 2]
    assert [(row["attempt"], row["status"]) for row in jump] == [(1, "error"), (2, "ok")]
    assert "status 400" in jump[0]["error"]


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [("status", status) for status in (408, 409, 429, 500, 503)] + [("reset", None)],
)
def test_transient_errors_are_tried_again(store, classes, ledger, server, model, behaviour, status):
    failed = Counter()

    def behave(number, body):
        failed["jump"] += "jump" in str(body)
        return behaviour if "jump" in str(body) and failed["jump"] <= 2 else None

    server.behave, server.status = behave, status
    outcome = ask(store, classes, DescriptionConfig(), model, ledger, max_workers=2)
    assert outcome.work == {"llm_calls": 10, "llm_replies_reused": 0}
    assert server.num_requests == 10
    jump = [row for row in outcome.artifact.read().to_pylist() if row["class_id"] == 2]
    assert [row["status"] for row in jump] == ["error", "error", "ok"]


@pytest.mark.parametrize(("status", "attempts"), [(400, 1), (401, 1), (404, 1), (500, 3)])
def test_an_error_that_stays_is_given_up(store, ledger, server, model, status, attempts):
    server.behave, server.status = (lambda number, body: "status"), status
    with pytest.raises(LlmError, match=f"0 of 1 requests .* status {status}"):
        ask(store, publish_classes(store, ["run"]), DescriptionConfig(), model, ledger)
    assert server.num_requests == attempts


def test_a_dead_endpoint_is_given_up_soon(store, ledger, server, model):
    classes = publish_classes(store, [f"action {number}" for number in range(100)])
    server.behave = lambda number, body: "status"
    with pytest.raises(LlmError, match="0 of 100 requests are answered"):
        ask(store, classes, DescriptionConfig(), model, ledger, max_workers=4)
    assert 4 <= server.num_requests <= 8 * extraction.MAX_ATTEMPTS


def test_an_unforeseen_error_is_not_swallowed(store, classes, ledger, model, monkeypatch):
    monkeypatch.setattr(model, "complete", lambda request: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask(store, classes, DescriptionConfig(), model, ledger, max_workers=2)


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
from knowledge.extraction import ask
from knowledge.kinds.description import DescriptionConfig
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger

root, url = Path(sys.argv[1]), sys.argv[2]
store = Store(root / "store")
with Ledger(root / "ledger.sqlite") as ledger:
    model = OpenAiChat(url, "test-model")
    ask(store, store.get("classes/demo"), DescriptionConfig(), model, ledger, max_workers=4)
"""


def test_two_processes_pay_once(tmp_path, store, server):
    publish_classes(store, [f"action {number}" for number in range(30)])
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
            return ask(store, classes, DescriptionConfig(), model, ledger, max_workers=2)

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, [first, second]))
    assert server.num_requests == len({canonical_json(body) for _, _, body in server.requests})
    assert sum(outcome.work.get("llm_calls", 0) for outcome in outcomes) == server.num_requests
    assert sorted(outcome.made for outcome in outcomes) == [not same_question, True]


def test_killed_in_the_middle_only_unanswered_requests_are_sent_again(tmp_path, store, server):
    names = [f"action {number}" for number in range(60)]
    classes = publish_classes(store, names)
    reached = threading.Event()
    server.delay_s = 0.02
    server.behave = lambda number, body: reached.set() if number == 25 else None
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(tmp_path), server.url],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert reached.wait(60)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    time.sleep(3 * server.delay_s)
    before = list(server.requests)
    server.behave, server.delay_s = (lambda number, body: None), 0
    model = OpenAiChat(server.url, "test-model")
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        outcome = ask(store, classes, DescriptionConfig(), model, ledger, max_workers=4)
    model.close()
    asked = Counter(canonical_json(body) for _, _, body in server.requests)
    assert len(asked) == 60
    repeated = sum(count - 1 for count in asked.values())
    rows = outcome.artifact.read().to_pylist()
    in_flight = [row for row in rows if row["error"] == UNSEEN]
    assert repeated <= len(in_flight) <= 4
    assert outcome.artifact.manifest.report["possibly_billed"] == len(in_flight)
    assert outcome.work["llm_replies_reused"] >= len(before) - 4 > 0
    assert outcome.work["llm_calls"] == server.num_requests - len(before)
    replies = [row["reply"] for row in rows if row["status"] == "ok"]
    assert [json.loads(reply)["description"] for reply in replies] == [
        f"A person doing {name}." for name in names
    ]


def test_recorded_replies_leave_the_same_bytes_twice(tmp_path):
    hashes = set()
    for run in ("a", "b"):
        store = Store(tmp_path / run)
        classes = register_classes(store, "hmdb51", class_list("hmdb51")).artifact
        model = RecordedReplies(class_list("hmdb51")["name"])
        outcome = ask(store, classes, DescriptionConfig(), model, None)
        assert outcome.work == {"recorded_replies": 51, "llm_replies_reused": 0}
        rows = outcome.artifact.read().to_pylist()
        assert {(row["sent_at"], row["duration_s"]) for row in rows} == {(None, None)}
        hashes.add(outcome.artifact.manifest.content_hash)
    assert len(hashes) == 1


def test_unrecorded_questions_are_counted_rows(store):
    classes = publish_classes(store, ["run", "fly to Mars"])
    outcome = ask(store, classes, DescriptionConfig(), RecordedReplies(["run", "x"]), None)
    assert outcome.artifact.manifest.report["statuses"] == {"no_reply": 1, "ok": 1}
    assert parse(outcome.artifact, Description).drops == {"no_reply": 1}


class Description(BaseModel):
    description: str


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
        ('```json\n{"description": "legs"}', "not_json"),
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
    parsed = parse(ask(store, classes, DescriptionConfig(), model, ledger).artifact, Description)
    assert parsed.drops == ({reason: 1} if reason else {})
    assert [item.reply.description for item in parsed.replies] == ([] if reason else ["legs"])


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("length", "truncated"),
        ("empty_length", "truncated"),
        ("refusal", "refusal"),
        ("content_filter", "refusal"),
        ("fenced", None),
    ],
)
def test_outcomes_are_drops(store, ledger, server, model, behaviour, reason):
    classes = publish_classes(store, ["run"])
    # Its first half is valid JSON: cut replies are dropped even where they could be read.
    whole = '{"description": "x"}'
    server.answer = lambda body: whole + " " * len(whole)
    server.behave = lambda number, body: behaviour
    parsed = parse(ask(store, classes, DescriptionConfig(), model, ledger).artifact, Description)
    assert parsed.drops == ({reason: 1} if reason else {})
    assert parsed.num_requests == 1


def test_replies_to_another_question_are_refused(store, classes, ledger, server, model):
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    check_calls(calls, classes, DescriptionConfig())
    with pytest.raises(ValueError, match="answers 'description', not 'cooccurrence'"):
        check_calls(calls, classes, CooccurrenceConfig())
    with pytest.raises(ValueError, match="other settings"):
        check_calls(calls, classes, DescriptionConfig(structured=False))
    with pytest.raises(ValueError, match="another class list"):
        check_calls(calls, publish_classes(store, ["other"]), DescriptionConfig())


def test_names_match_by_spelling_only():
    vocabulary = Vocabulary({1: ["BrushHair"], 2: ["push (a person)"], 3: ["C"], 4: ["C++"]})
    names = ["brush hair", "push", "PUSH A PERSON!", "brush_hair", "comb hair", "c", "C++"]
    assert vocabulary.match(names) == ([1, 2, 4], {"invented": 3, "duplicate": 1})


def test_the_key_is_in_no_file(tmp_path, store, classes, ledger, server, model):
    server.behave = lambda number, body: ["echo_key", "status", None][number % 3]
    server.status, server.error_message = 401, f"{KEY} is wrong"
    with pytest.raises(LlmError) as caught:
        ask(store, classes, DescriptionConfig(), model, ledger)
    assert KEY not in str(caught.value)
    server.behave = lambda number, body: "echo_key"
    ask(store, classes, DescriptionConfig(), model, ledger)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        assert KEY.encode() not in path.read_bytes()
    for artifact in store.published("llm_calls"):
        assert KEY not in str(artifact.read().to_pylist())
