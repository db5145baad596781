"""Extraction: every attempt a row, and nothing answered is sent again."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifacts.provenance import canonical_json
from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig
from knowledge.extraction.kinds.description import DescriptionConfig, DescriptionReply
from knowledge.extraction.parse import check_calls, check_coverage, parse
from knowledge.extraction.recorded import RecordedReplies
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Sampling
from tests.knowledge.asking import NAMES, fast, publish_classes


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
from knowledge.extraction.calls import AskingOptions, ask
from knowledge.extraction.kinds.cooccurrence import CooccurrenceQuestion
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.sender import SendOptions

root, url = Path(sys.argv[1]), sys.argv[2]
store = Store(root / "store")
with Ledger(root / "ledger.sqlite") as ledger:
    model = OpenAiChat(url, "test-model")
    config = AskingOptions(send=SendOptions(limits=LimitsOptions(concurrency=4)))
    ask(store, store.get("classes/demo"), CooccurrenceQuestion(), model, ledger, config=config)
"""


def test_two_processes_pay_once(tmp_path, store, server):
    publish_classes(store, [f"action {number}" for number in range(6)])
    server.answer = lambda body: '{"actions": []}'
    server.delay_s = 0.02
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(tmp_path), server.url],
            cwd=Path(__file__).parents[3],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
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
