"""Batch mode: the same artifact as asking one by one, in batches that are submitted once."""

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.extraction.plan import plan
from knowledge.extraction.recorded import RecordedReplies
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import LlmError, Stopped
from knowledge.llm.options import AskingOptions, BatchOptions, Cap
from tests.knowledge.llm.batching import NAMES, QUICK, World, describe

ROOT = Path(__file__).parents[3]


def test_a_batch_gives_the_artifact_that_asking_one_by_one_gives(
    batch_world, batch_server, one_by_one
):
    seen = []
    batch_server.requests.clear()
    outcome = batch_world.ask(progress=lambda *n: seen.append(n))
    assert outcome.artifact.manifest.content_hash == one_by_one
    assert outcome.work == {"llm_calls": 10, "llm_replies_reused": 0}
    assert (batch_server.num_billed, len(batch_server.batches), batch_server.num_requests) == (
        10,
        1,
        0,
    )
    assert seen[-1] == (10, 10)
    assert batch_world.states() == ["completed"]
    assert {(status, tokens) for status, tokens, _ in batch_world.attempts()} == {("ok", 18)}
    assert batch_server.count("listed") == 0


def test_an_unknown_dialect_is_found_with_one_plain_request(tmp_path, batch_server):
    world = World(tmp_path, batch_server)
    (tmp_path / "ledger.sqlite").unlink()
    world.ask()
    assert (batch_server.num_requests, batch_server.num_billed) == (1, 9)


def test_large_extractions_are_batches_side_by_side(
    batch_world, batch_server, one_by_one, monkeypatch
):
    assert batch_world.ask(max_requests=4).artifact.manifest.content_hash == one_by_one
    sizes = [
        batch_server.files[batch["input_file_id"]].count(b"\n")
        for batch in batch_server.batches.values()
    ]
    assert sorted(sizes) == [2, 4, 4]
    assert batch_server.num_billed == 10


def test_a_file_has_a_largest_size(batch_world, batch_server):
    batch_world.ask(max_file_bytes=3000)
    sizes = [
        len(batch_server.files[batch["input_file_id"]]) for batch in batch_server.batches.values()
    ]
    assert len(sizes) > 2
    assert max(sizes) <= 3000


def test_unusable_replies_are_asked_about_in_a_further_batch(batch_world, batch_server):
    batch_server.answer = lambda body: "no" if len(body["messages"]) == 2 else describe(body)
    outcome = batch_world.ask()
    assert outcome.artifact.manifest.num_rows == 20
    assert (len(batch_server.batches), batch_server.num_billed) == (2, 20)


def test_rounds_are_apart(batch_world, batch_server):
    batch_server.answer = lambda body: '{"actions": []}'
    batch_world.ask(CooccurrenceConfig(rounds=3, min_votes=1))
    assert batch_server.num_billed == 30


def test_the_key_is_in_no_file(batch_world, batch_server, caplog):
    key = "sk-test-0123456789abcdef"
    batch_server.result = lambda number, place: 401 if place == 1 else None
    batch_server.error_message = f"{key} is wrong"
    batch_server.answer = lambda body: json.dumps({"description": key})
    with pytest.raises(LlmError, match=r"\*\*\* is wrong"):
        batch_world.ask(key=key)
    batch_server.result, batch_server.ending = lambda number, place: None, lambda number: "failed"
    with pytest.raises(LlmError, match=r"failed: line 3: \*\*\* is wrong"):
        batch_world.ask(key=key)
    batch_server.ending = lambda number: "completed"
    batch_world.ask(key=key)
    for path in batch_world.path.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes()


def test_the_pause_is_as_long_as_the_endpoint_asks(batch_world, batch_server, one_by_one):
    fails, looks = iter([(429, {"Retry-After": "1"})]), []

    def on(event):
        if event != "looked":
            return None
        looks.append(time.monotonic())
        return next(fails, None)

    batch_server.on = on
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert looks[1] - looks[0] >= 1


def test_who_finds_the_ledger_held_during_a_batch_does_not_wait_for_it(batch_world, batch_server):
    waiting = threading.Event()
    batch_server.ending = lambda number: "completed" if waiting.wait(30) else "failed"
    holder = threading.Thread(target=batch_world.ask)
    holder.start()
    deadline = time.monotonic() + 30
    while not batch_server.count("looked"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    reason = r"ledger\.sqlite: process \d+ asks m at http.* in batches; wait for it, or stop it"
    with pytest.raises(Stopped, match=reason):
        batch_world.ask(held_wait_s=0.2)
    waiting.set()
    holder.join()
    assert (batch_server.num_billed, batch_world.ask().made) == (10, False)


def test_answers_of_another_kind_are_not_counted_as_reused_here(batch_world, batch_server):
    batch_server.answer = lambda body: '{"actions": []}'
    with pytest.raises(Stopped):
        batch_world.ask(CooccurrenceConfig(rounds=2, min_votes=1), max_wait_s=0)
    batch_server.answer = lambda body: (
        describe(body) if "video" in str(body["messages"]) else '{"actions": []}'
    )
    assert batch_world.ask().work == {"llm_calls": 10, "llm_replies_reused": 0}
    other = batch_world.ask(CooccurrenceConfig(rounds=2, min_votes=1))
    assert other.work == {"llm_calls": 0, "llm_replies_reused": 20}


def test_a_plan_shows_what_is_in_a_batch_and_writes_nothing(batch_world, batch_server):
    with pytest.raises(Stopped):
        batch_world.ask(max_wait_s=0)
    before = {path.name: path.read_bytes() for path in batch_world.path.glob("ledger*")}
    model = OpenAiChat(batch_server.url, "m")
    with Ledger(batch_world.path / "ledger.sqlite", read_only=True) as ledger:
        planned = plan(
            batch_world.store,
            batch_world.classes,
            DescriptionConfig(),
            model,
            ledger,
            AskingOptions(),
        )
    model.close()
    assert (planned.num_requests, planned.num_kept) == (10, 0)
    assert (planned.num_in_batch, planned.num_calls, planned.most.tokens) == (10, 0, 0)
    assert {path.name: path.read_bytes() for path in batch_world.path.glob("ledger*")} == before


def test_waiting_may_end_before_the_batch(batch_world, batch_server, one_by_one):
    with pytest.raises(Stopped, match=r"batch batch-2 is under way at the endpoint; 0 of 10"):
        batch_world.ask(max_wait_s=0)
    with pytest.raises(ValueError, match=r"batch-2 at .* holds 10 of these requests, which would"):
        batch_world.ask(is_batch=False)
    assert batch_server.num_requests == 10  # those of `one_by_one`
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert (batch_server.num_billed, len(batch_server.batches)) == (10, 1)


def test_ctrl_c_while_waiting(batch_world, batch_server, one_by_one):
    def interrupt(event):
        if event == "looked" and batch_server.count("looked") == 2:
            os.kill(os.getpid(), signal.SIGINT)

    batch_server.on = interrupt
    with pytest.raises(Stopped, match=r"batch-2 is under way"):
        batch_world.ask(poll_s=0.2)
    assert batch_world.ask().artifact.manifest.content_hash == one_by_one
    assert batch_server.num_billed == 10


def test_nothing_to_ask_waits_for_no_batch(batch_world, batch_server):
    batch_world.ask()
    other = CooccurrenceConfig(rounds=1, min_votes=1)
    batch_server.answer = lambda body: '{"actions": []}'
    with pytest.raises(Stopped):
        batch_world.ask(other, max_wait_s=0)
    for artifact in batch_world.store.published("llm_calls"):
        shutil.rmtree(batch_world.store.directory(artifact.ref))
    before = batch_server.count("looked")
    assert batch_world.ask().work == {"llm_calls": 0, "llm_replies_reused": 10}
    assert batch_server.count("looked") == before


def test_the_cap_admits_as_many_as_fit(batch_world, batch_server, one_by_one, tmp_path):
    prices = tmp_path / "prices.json"
    price = {"prompt": 100, "completion": 100, "batch": 0.5}
    prices.write_text(json.dumps({"version": "x", "prices": {"127.0.0.1": {"m": price}}}))
    with pytest.raises(
        Stopped, match=r"cap of 0.35 US dollars .*leaves no room.*[1-9] of 10 requests"
    ):
        batch_world.ask(prices=prices, cap=Cap(max_usd=0.35))
    num_sent = batch_server.num_billed
    assert 1 < num_sent < 10
    with batch_world.ledger() as ledger:
        assert ledger.charged().usd == pytest.approx(num_sent * 18 * 100 / 1e6 / 2)
    outcome = batch_world.ask(prices=prices, cap=Cap(max_usd=2))
    assert outcome.artifact.manifest.content_hash == one_by_one
    assert batch_server.num_billed == 10


def test_recorded_replies_need_no_batch(batch_world):
    config = AskingOptions(batch=BatchOptions(**QUICK))
    outcome = ask(
        batch_world.store,
        batch_world.classes,
        DescriptionConfig(),
        RecordedReplies(NAMES),
        None,
        None,
        config,
    )
    assert outcome.work["recorded_replies"] == 10


def test_two_extractions_with_one_ledger_pay_once(batch_world, batch_server, one_by_one):
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(batch_world.ask())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert sorted(outcome.made for outcome in outcomes) == [False, True]
    assert batch_server.num_billed == 10
