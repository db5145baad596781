"""Batch mode: whatever breaks where, every request is billed once and the same artifact results."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from knowledge.llm.messages import LlmError, Stopped
from tests.knowledge.llm.batching import describe

ROOT = Path(__file__).parents[3]


_CHILD = """
import os, sys
from pathlib import Path
from knowledge.llm.ledger.ledger import Ledger
from tests.batch_server import BatchServer
from tests.knowledge.llm.batching import World

path, url, dies_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
commits = 0
settle = Ledger.settle_together

def settle_and_die(self, outcomes):
    global commits
    settle(self, outcomes)
    commits += 1
    if commits == 2:
        os._exit(9)

if dies_at == "ingesting":
    Ledger.settle_together = settle_and_die
if dies_at == "ended":
    update = Ledger.update_batch
    Ledger.update_batch = lambda self, key, **what: (
        os._exit(9) if "state" in what else update(self, key, **what)
    )

class Server:
    pass

Server.url = url
World(path, Server).ask(rows_per_commit=3)
"""


@pytest.mark.parametrize(
    "dies_at",
    ["uploading", "uploaded", "creating", "created", "looked", "content", "ingesting", "ended"],
)
def test_killed_anywhere_every_request_is_billed_once(
    batch_world, batch_server, one_by_one, dies_at
):
    reached, dead = threading.Event(), threading.Event()

    def on(event):
        if event == dies_at:
            reached.set()
            dead.wait(30)
            return "drop"
        return None

    batch_server.on = on
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(batch_world.path), batch_server.url, dies_at],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if dies_at in ("ingesting", "ended"):
        assert child.wait(60) == 9
    else:
        assert reached.wait(60)
        child.send_signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL
    dead.set()
    batch_server.on = lambda event: None
    assert not batch_world.store.published("llm_calls")
    assert batch_world.states() == ["open"]
    settled = [status for status, _, _ in batch_world.attempts()].count("ok")
    assert settled == {"ingesting": 6, "ended": 10}.get(dies_at, 0)
    outcome = batch_world.ask()
    assert outcome.artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 1)
    assert len(batch_world.attempts()) == 10
    # Where nothing is left to ask, nobody looks at the batch again.
    assert batch_world.states() == ["open" if dies_at == "ended" else "completed"]
    found_by_key = {"creating": 1, "uploading": 1, "uploaded": 1, "created": 1}
    assert batch_server.count("listed") == found_by_key.get(dies_at, 0)


def test_an_open_batch_is_found_on_any_page(batch_world, batch_server, one_by_one):
    fails = iter(["drop"])
    batch_server.on = lambda event: next(fails, 404) if event in ("created", "listed") else None
    with pytest.raises(LlmError, match=r"something broke"):
        batch_world.ask()
    batch_server.on = lambda event: None
    for _ in range(5):
        batch_server.create(
            {"endpoint": "/v1/chat/completions", "input_file_id": "x", "completion_window": "24h"}
        )
    outcome = batch_world.ask()
    assert outcome.artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches), batch_server.count("listed")) == (
        10,
        6,
        4,
    )


@pytest.mark.parametrize("what", ["drop", 500, 429])
@pytest.mark.parametrize(
    "event", ["uploading", "uploaded", "creating", "created", "looked", "content"]
)
def test_errors_that_pass_are_waited_out(batch_world, batch_server, one_by_one, event, what):
    fails = iter([what, what])
    batch_server.on = lambda happened: next(fails, None) if happened == event else None
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 1)


@pytest.mark.parametrize("left", ["missing", "expired", 500, 429])
def test_what_a_batch_left_undone_goes_into_the_next(batch_world, batch_server, one_by_one, left):
    batch_server.ending = lambda number: "expired" if number == 1 else "completed"
    batch_server.result = lambda number, place: left if number == 1 and place > 6 else None
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    sizes = [
        batch_server.files[batch["input_file_id"]].count(b"\n")
        for batch in batch_server.batches.values()
    ]
    assert (sizes, batch_server.num_billed) == ([10, 4], 10)
    assert batch_world.states() == ["expired", "completed"]
    attempts = batch_world.attempts()
    assert sum(tokens for _, tokens, _ in attempts) == 180
    assert [status for status, _, _ in attempts].count("error") == 4


def test_batches_are_not_sent_for_ever(batch_world, batch_server, one_by_one):
    batch_server.ending = lambda number: "expired"
    batch_server.result = lambda number, place: None if place == 1 else "missing"
    with pytest.raises(
        LlmError, match=r"3 of 10 requests .* 7 requests got no result in 3 batches"
    ):
        batch_world.ask()
    batch_server.ending, batch_server.result = (
        lambda number: "completed",
        lambda number, place: None,
    )
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 4)


def test_a_cancelled_batch_is_completed_by_the_next_run(batch_world, batch_server, one_by_one):
    batch_server.ending = lambda number: "cancelled" if number == 1 else "completed"
    batch_server.result = lambda number, place: "missing" if number == 1 and place > 3 else None
    with pytest.raises(Stopped, match=r"was cancelled with 7 requests undone; 3 of 10 .* goes on"):
        batch_world.ask()
    assert len(batch_server.batches) == 1
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert batch_server.num_billed == 10


def test_an_error_that_stays_is_not_sent_again(batch_world, batch_server, one_by_one):
    batch_server.result = lambda number, place: 400 if number == 1 and place == 2 else None
    with pytest.raises(LlmError, match=r"9 of 10 requests .* status 400: something broke"):
        batch_world.ask()
    assert len(batch_server.batches) == 1
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 2)


def test_a_batch_that_fails_is_told_and_costs_nothing(batch_world, batch_server, one_by_one):
    batch_server.ending = lambda number: "failed" if number == 1 else "completed"
    with pytest.raises(LlmError, match=r"batch-2 failed: line 3: something broke; correct"):
        batch_world.ask()
    assert {(status, tokens) for status, tokens, _ in batch_world.attempts()} == {("error", 0)}
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 2)


@pytest.mark.parametrize("event", ["uploading", "creating"])
def test_a_refused_batch_costs_nothing(batch_world, batch_server, one_by_one, event):
    batch_server.on = lambda happened: 401 if happened == event else None
    with pytest.raises(LlmError, match=r"status 401: something broke; check the API key"):
        batch_world.ask()
    assert {tokens for _, tokens, _ in batch_world.attempts()} == {0}
    assert batch_world.states() == ["refused"]
    batch_server.on = lambda happened: None
    assert batch_world.ask(is_batch=False).artifact.manifest.content_hash == one_by_one


def test_an_endpoint_without_batches(batch_world, batch_server):
    batch_server.has_batches = False
    with pytest.raises(
        LlmError, match=r"status 404.*; ask without batch mode .* if the endpoint has"
    ):
        batch_world.ask()


def test_lines_that_nobody_asked_for_are_ignored(batch_world, batch_server, one_by_one, caplog):
    repeated = []

    def answer(body):
        if not repeated:
            key = json.loads(next(iter(batch_server.files.values())).splitlines()[0])["custom_id"]
            repeated.append({"custom_id": key, "response": {"status_code": 200, "body": {}}})
            batch_server.extra_lines = [json.dumps(each) for each in repeated]
            batch_server.extra_lines += ["[1]", "{", '{"custom_id": "x"}', ""]
        return describe(body)

    batch_server.answer = answer
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert "ignored lines: {'unreadable': 2, 'repeated': 1, 'unknown': 1}" in caplog.text
    assert (len(batch_server.batches), batch_server.count("content")) == (1, 1)


def charged_as_error(batch_world):
    """Tokens charged for each attempt that brought nothing."""
    return [tokens for status, tokens, _ in batch_world.attempts() if status == "error"]


def test_a_batch_that_is_gone_stays_charged_and_is_asked_again(
    batch_world, batch_server, one_by_one, caplog
):
    with pytest.raises(Stopped):
        batch_world.ask(max_wait_s=0)
    batch_server.batches.clear()
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert batch_world.states() == ["lost", "completed"]
    lost = charged_as_error(batch_world)
    assert len(lost) == 10
    assert min(lost) > 100
    assert "is lost: the endpoint has it no more; its 10 requests stay charged" in caplog.text
    assert batch_server.num_billed == 10


def test_results_that_are_gone_are_asked_again(batch_world, batch_server, one_by_one):
    def on(event):
        if event == "content" and len(batch_server.batches) == 1:
            return 404
        return None

    batch_server.on = on
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert batch_world.states() == ["lost", "completed"]
    assert (len(charged_as_error(batch_world)), batch_server.num_billed) == (10, 20)


def test_an_endpoint_that_lost_its_batch_api_is_no_lost_batch(
    batch_world, batch_server, one_by_one
):
    with pytest.raises(Stopped):
        batch_world.ask(max_wait_s=0)
    batch_server.on = lambda event: 404
    with pytest.raises(LlmError, match=r"status 404"):
        batch_world.ask()
    assert batch_world.states() == ["open"]
    batch_server.on = lambda event: None
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 1)


def whole_lines(data):
    return b"".join(data.splitlines(keepends=True)[:4])


@pytest.mark.parametrize("cut", [lambda data: data[: len(data) // 2], whole_lines])
def test_results_that_come_cut_are_downloaded_again(batch_world, batch_server, one_by_one, cut):
    batch_server.content = lambda number, data: cut(data) if number < 3 else data
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, batch_server.count("content"), len(batch_server.batches)) == (
        10,
        3,
        1,
    )


@pytest.mark.parametrize("cut", [lambda data: data[: len(data) // 2], whole_lines])
def test_results_that_stay_cut_are_not_asked_again(batch_world, batch_server, one_by_one, cut):
    batch_server.content = lambda number, data: cut(data)
    for _ in range(2):
        with pytest.raises(LlmError, match=r"[45] of 10 requests .* batch-2: its results have .*"):
            batch_world.ask()
    assert (batch_world.states(), len(batch_server.batches)) == (["open"], 1)
    kept = batch_world.attempts()
    assert {status for status, _, _ in kept} == {"ok", "in_flight"}
    assert all(tokens for _, tokens, _ in kept)
    batch_server.content = lambda number, data: data
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 1)


@pytest.mark.parametrize("event", ["looked", "content"])
@pytest.mark.parametrize("what", ["drop", 503, (429, {"Retry-After": "86400"})])
def test_errors_that_last_leave_the_batch_under_way(
    batch_world, batch_server, one_by_one, event, what
):
    batch_server.on = lambda happened: what if happened == event else None
    with pytest.raises(Stopped, match=r"batch batch-2 is under way at the endpoint; LLM endpoint"):
        batch_world.ask()
    assert batch_server.count(event) == (1 if isinstance(what, tuple) else 5)
    batch_server.on = lambda happened: None
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 1)
