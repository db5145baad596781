"""Batch mode: whatever breaks where, every request is billed once and the same artifact results."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from artifacts.store import Store
from knowledge.datasets.listing import register_classes
from knowledge.extraction import AskConfig, ask
from knowledge.kinds.cooccurrence import CooccurrenceConfig
from knowledge.kinds.description import DescriptionConfig
from knowledge.llm import batch as batch_module
from knowledge.llm import ledger_file
from knowledge.llm.batch import BatchConfig
from knowledge.llm.budget import Cap
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.messages import Dialect, LlmError, Stopped
from knowledge.llm.recorded import RecordedReplies
from knowledge.llm.sender import RetryConfig, SendConfig
from knowledge.plan import plan
from tests.batch_server import BatchServer

NAMES = [f"action {letter}" for letter in "abcdefghij"]
QUICK = {"poll_s": 0.01}
ROOT = Path(__file__).parents[2]


def describe(body):
    label = re.search(r"distinguishing (.*) in a video", body["messages"][1]["content"])[1]
    return json.dumps({"description": f"A person doing {label}.\u2028So."}, ensure_ascii=False)


class World:
    """A store, a ledger and a server; the dialect is known, so all requests go in batches."""

    def __init__(self, path, server):
        self.path = path
        self.server = server
        self.store = Store(path / "store")
        classes = pd.DataFrame({"class_id": range(len(NAMES)), "name": NAMES, "group": "all"})
        self.classes = register_classes(self.store, "demo", classes).artifact
        with self.ledger() as ledger:
            ledger.settle_dialect(server.url, "m", Dialect())

    def ledger(self):
        return Ledger(self.path / "ledger.sqlite")

    def ask(
        self,
        question=None,
        cap=None,
        prices=None,
        progress=None,
        is_batch=True,
        key=None,
        **batch,
    ):
        send = SendConfig(cap=cap or Cap(), retry=RetryConfig(attempts=1))
        config = AskConfig(
            send=send, prices=prices, batch=BatchConfig(**QUICK | batch) if is_batch else None
        )
        model = OpenAiChat(self.server.url, "m", key, timeout_s=10)
        with self.ledger() as ledger:
            try:
                question = question or DescriptionConfig()
                return ask(self.store, self.classes, question, model, ledger, progress, config)
            finally:
                model.close()

    def states(self):
        with self.ledger() as ledger:
            return [
                row[0] for row in ledger._file.read("SELECT state FROM batches ORDER BY created_at")
            ]

    def attempts(self):
        with self.ledger() as ledger:
            return ledger._file.read("SELECT status, charged_tokens, error FROM attempts")


@pytest.fixture
def server():
    with BatchServer(answer=describe) as server:
        yield server


@pytest.fixture
def world(tmp_path, server):
    return World(tmp_path, server)


@pytest.fixture
def expected(tmp_path, server):
    """Rows and content hash of the same extraction, asked one by one."""
    world = World(tmp_path / "expected", server)
    artifact = world.ask(is_batch=False).artifact
    return artifact.manifest.content_hash


def test_a_batch_gives_the_artifact_that_asking_one_by_one_gives(world, server, expected):
    seen = []
    server.requests.clear()
    outcome = world.ask(progress=lambda *n: seen.append(n))
    assert outcome.artifact.manifest.content_hash == expected
    assert outcome.work == {"llm_calls": 10, "llm_replies_reused": 0}
    assert (server.num_billed, len(server.batches), server.num_requests) == (10, 1, 0)
    assert seen[-1] == (10, 10)
    assert world.states() == ["completed"]
    assert {(status, tokens) for status, tokens, _ in world.attempts()} == {("ok", 18)}
    assert server.count("listed") == 0


def test_an_unknown_dialect_is_found_with_one_plain_request(tmp_path, server):
    world = World(tmp_path, server)
    (tmp_path / "ledger.sqlite").unlink()
    world.ask()
    assert (server.num_requests, server.num_billed) == (1, 9)


def test_large_extractions_are_batches_side_by_side(world, server, expected, monkeypatch):
    assert world.ask(max_requests=4).artifact.manifest.content_hash == expected
    sizes = [server.files[batch["input_file_id"]].count(b"\n") for batch in server.batches.values()]
    assert sorted(sizes) == [2, 4, 4]
    assert server.num_billed == 10


def test_a_file_has_a_largest_size(world, server, monkeypatch):
    monkeypatch.setattr(batch_module, "MAX_FILE_BYTES", 3000)
    world.ask()
    sizes = [len(server.files[batch["input_file_id"]]) for batch in server.batches.values()]
    assert len(sizes) > 2
    assert max(sizes) <= 3000


def test_unusable_replies_are_asked_about_in_a_further_batch(world, server):
    server.answer = lambda body: "no" if len(body["messages"]) == 2 else describe(body)
    outcome = world.ask()
    assert outcome.artifact.manifest.num_rows == 20
    assert (len(server.batches), server.num_billed) == (2, 20)


def test_rounds_are_apart(world, server):
    server.answer = lambda body: '{"actions": []}'
    world.ask(CooccurrenceConfig(rounds=3, min_votes=1))
    assert server.num_billed == 30


_CHILD = """
import os, sys
from pathlib import Path
from knowledge.llm import batch
from knowledge.llm.ledger import Ledger
from tests.batch_server import BatchServer
from tests.knowledge.test_batch import World

path, url, dies_at = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
batch._ROWS_PER_COMMIT = 3
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
World(path, Server).ask()
"""


@pytest.mark.parametrize(
    "dies_at",
    ["uploading", "uploaded", "creating", "created", "looked", "content", "ingesting", "ended"],
)
def test_killed_anywhere_every_request_is_billed_once(world, server, expected, dies_at):
    reached, dead = threading.Event(), threading.Event()

    def on(event):
        if event == dies_at:
            reached.set()
            dead.wait(30)
            return "drop"
        return None

    server.on = on
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(world.path), server.url, dies_at],
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
    server.on = lambda event: None
    assert not world.store.published("llm_calls")
    assert world.states() == ["open"]
    settled = [status for status, _, _ in world.attempts()].count("ok")
    assert settled == {"ingesting": 6, "ended": 10}.get(dies_at, 0)
    outcome = world.ask()
    assert outcome.artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 1)
    assert len(world.attempts()) == 10
    # Where nothing is left to ask, nobody looks at the batch again.
    assert world.states() == ["open" if dies_at == "ended" else "completed"]
    found_by_key = {"creating": 1, "uploading": 1, "uploaded": 1, "created": 1}
    assert server.count("listed") == found_by_key.get(dies_at, 0)


def test_an_open_batch_is_found_on_any_page(world, server, expected):
    fails = iter(["drop"])
    server.on = lambda event: next(fails, 404) if event in ("created", "listed") else None
    with pytest.raises(LlmError, match=r"something broke"):
        world.ask()
    server.on = lambda event: None
    for _ in range(5):
        server.create(
            {"endpoint": "/v1/chat/completions", "input_file_id": "x", "completion_window": "24h"}
        )
    outcome = world.ask()
    assert outcome.artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches), server.count("listed")) == (10, 6, 4)


@pytest.mark.parametrize("what", ["drop", 500, 429])
@pytest.mark.parametrize(
    "event", ["uploading", "uploaded", "creating", "created", "looked", "content"]
)
def test_errors_that_pass_are_waited_out(world, server, expected, event, what):
    fails = iter([what, what])
    server.on = lambda happened: next(fails, None) if happened == event else None
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 1)


@pytest.mark.parametrize("left", ["missing", "expired", 500, 429])
def test_what_a_batch_left_undone_goes_into_the_next(world, server, expected, left):
    server.ending = lambda number: "expired" if number == 1 else "completed"
    server.result = lambda number, place: left if number == 1 and place > 6 else None
    assert world.ask().artifact.manifest.content_hash == expected
    sizes = [server.files[batch["input_file_id"]].count(b"\n") for batch in server.batches.values()]
    assert (sizes, server.num_billed) == ([10, 4], 10)
    assert world.states() == ["expired", "completed"]
    attempts = world.attempts()
    assert sum(tokens for _, tokens, _ in attempts) == 180
    assert [status for status, _, _ in attempts].count("error") == 4


def test_batches_are_not_sent_for_ever(world, server, expected):
    server.ending = lambda number: "expired"
    server.result = lambda number, place: None if place == 1 else "missing"
    with pytest.raises(
        LlmError, match=r"3 of 10 requests .* 7 requests got no result in 3 batches"
    ):
        world.ask()
    server.ending, server.result = lambda number: "completed", lambda number, place: None
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 4)


def test_a_cancelled_batch_is_completed_by_the_next_run(world, server, expected):
    server.ending = lambda number: "cancelled" if number == 1 else "completed"
    server.result = lambda number, place: "missing" if number == 1 and place > 3 else None
    with pytest.raises(Stopped, match=r"was cancelled with 7 requests undone; 3 of 10 .* goes on"):
        world.ask()
    assert len(server.batches) == 1
    assert world.ask().artifact.manifest.content_hash == expected
    assert server.num_billed == 10


def test_an_error_that_stays_is_not_sent_again(world, server, expected):
    server.result = lambda number, place: 400 if number == 1 and place == 2 else None
    with pytest.raises(LlmError, match=r"9 of 10 requests .* status 400: something broke"):
        world.ask()
    assert len(server.batches) == 1
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 2)


def test_the_key_is_in_no_file(world, server, caplog):
    key = "sk-test-0123456789abcdef"
    server.result = lambda number, place: 401 if place == 1 else None
    server.error_message = f"{key} is wrong"
    server.answer = lambda body: json.dumps({"description": key})
    with pytest.raises(LlmError, match=r"\*\*\* is wrong"):
        world.ask(key=key)
    server.result, server.ending = lambda number, place: None, lambda number: "failed"
    with pytest.raises(LlmError, match=r"failed: line 3: \*\*\* is wrong"):
        world.ask(key=key)
    server.ending = lambda number: "completed"
    world.ask(key=key)
    for path in world.path.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes()


def test_a_batch_that_fails_is_told_and_costs_nothing(world, server, expected):
    server.ending = lambda number: "failed" if number == 1 else "completed"
    with pytest.raises(LlmError, match=r"batch-2 failed: line 3: something broke; correct"):
        world.ask()
    assert {(status, tokens) for status, tokens, _ in world.attempts()} == {("error", 0)}
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 2)


@pytest.mark.parametrize("event", ["uploading", "creating"])
def test_a_refused_batch_costs_nothing(world, server, expected, event):
    server.on = lambda happened: 401 if happened == event else None
    with pytest.raises(LlmError, match=r"status 401: something broke; check the API key"):
        world.ask()
    assert {tokens for _, tokens, _ in world.attempts()} == {0}
    assert world.states() == ["refused"]
    server.on = lambda happened: None
    assert world.ask(is_batch=False).artifact.manifest.content_hash == expected


def test_an_endpoint_without_batches(world, server):
    server.has_batches = False
    with pytest.raises(
        LlmError, match=r"status 404.*; ask without batch mode .* if the endpoint has"
    ):
        world.ask()


def test_lines_that_nobody_asked_for_are_ignored(world, server, expected, caplog):
    repeated = []

    def answer(body):
        if not repeated:
            key = json.loads(next(iter(server.files.values())).splitlines()[0])["custom_id"]
            repeated.append({"custom_id": key, "response": {"status_code": 200, "body": {}}})
            server.extra_lines = [json.dumps(each) for each in repeated]
            server.extra_lines += ["[1]", "{", '{"custom_id": "x"}', ""]
        return describe(body)

    server.answer = answer
    assert world.ask().artifact.manifest.content_hash == expected
    assert "ignored lines: {'unreadable': 2, 'repeated': 1, 'unknown': 1}" in caplog.text
    assert (len(server.batches), server.count("content")) == (1, 1)


def charged_as_error(world):
    """Tokens charged for each attempt that brought nothing."""
    return [tokens for status, tokens, _ in world.attempts() if status == "error"]


def test_a_batch_that_is_gone_stays_charged_and_is_asked_again(world, server, expected, caplog):
    with pytest.raises(Stopped):
        world.ask(max_wait_s=0)
    server.batches.clear()
    assert world.ask().artifact.manifest.content_hash == expected
    assert world.states() == ["lost", "completed"]
    lost = charged_as_error(world)
    assert len(lost) == 10
    assert min(lost) > 100
    assert "is lost: the endpoint has it no more; its 10 requests stay charged" in caplog.text
    assert server.num_billed == 10


def test_results_that_are_gone_are_asked_again(world, server, expected):
    def on(event):
        if event == "content" and len(server.batches) == 1:
            return 404
        return None

    server.on = on
    assert world.ask().artifact.manifest.content_hash == expected
    assert world.states() == ["lost", "completed"]
    assert (len(charged_as_error(world)), server.num_billed) == (10, 20)


def test_an_endpoint_that_lost_its_batch_api_is_no_lost_batch(world, server, expected):
    with pytest.raises(Stopped):
        world.ask(max_wait_s=0)
    server.on = lambda event: 404
    with pytest.raises(LlmError, match=r"status 404"):
        world.ask()
    assert world.states() == ["open"]
    server.on = lambda event: None
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 1)


def whole_lines(data):
    return b"".join(data.splitlines(keepends=True)[:4])


@pytest.mark.parametrize("cut", [lambda data: data[: len(data) // 2], whole_lines])
def test_results_that_come_cut_are_downloaded_again(world, server, expected, cut):
    server.content = lambda number, data: cut(data) if number < 3 else data
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, server.count("content"), len(server.batches)) == (10, 3, 1)


@pytest.mark.parametrize("cut", [lambda data: data[: len(data) // 2], whole_lines])
def test_results_that_stay_cut_are_not_asked_again(world, server, expected, cut):
    server.content = lambda number, data: cut(data)
    for _ in range(2):
        with pytest.raises(LlmError, match=r"[45] of 10 requests .* batch-2: its results have .*"):
            world.ask()
    assert (world.states(), len(server.batches)) == (["open"], 1)
    kept = world.attempts()
    assert {status for status, _, _ in kept} == {"ok", "in_flight"}
    assert all(tokens for _, tokens, _ in kept)
    server.content = lambda number, data: data
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 1)


@pytest.mark.parametrize("event", ["looked", "content"])
@pytest.mark.parametrize("what", ["drop", 503, (429, {"Retry-After": "86400"})])
def test_errors_that_last_leave_the_batch_under_way(world, server, expected, event, what):
    server.on = lambda happened: what if happened == event else None
    with pytest.raises(Stopped, match=r"batch batch-2 is under way at the endpoint; LLM endpoint"):
        world.ask()
    assert server.count(event) == (1 if isinstance(what, tuple) else 5)
    server.on = lambda happened: None
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 1)


def test_the_pause_is_as_long_as_the_endpoint_asks(world, server, expected):
    fails, looks = iter([(429, {"Retry-After": "1"})]), []

    def on(event):
        if event != "looked":
            return None
        looks.append(time.monotonic())
        return next(fails, None)

    server.on = on
    assert world.ask().artifact.manifest.content_hash == expected
    assert looks[1] - looks[0] >= 1


def test_who_finds_the_ledger_held_during_a_batch_does_not_wait_for_it(world, server, monkeypatch):
    monkeypatch.setattr(ledger_file, "_EXCLUSIVE_WAIT_S", 0.2)
    waiting = threading.Event()
    server.ending = lambda number: "completed" if waiting.wait(30) else "failed"
    holder = threading.Thread(target=world.ask)
    holder.start()
    deadline = time.monotonic() + 30
    while not server.count("looked"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    reason = r"ledger\.sqlite: process \d+ asks m at http.* in batches; wait for it, or stop it"
    with pytest.raises(Stopped, match=reason):
        world.ask()
    waiting.set()
    holder.join()
    assert (server.num_billed, world.ask().made) == (10, False)


def test_answers_of_another_kind_are_not_counted_as_reused_here(world, server):
    server.answer = lambda body: '{"actions": []}'
    with pytest.raises(Stopped):
        world.ask(CooccurrenceConfig(rounds=2, min_votes=1), max_wait_s=0)
    server.answer = lambda body: (
        describe(body) if "video" in str(body["messages"]) else '{"actions": []}'
    )
    assert world.ask().work == {"llm_calls": 10, "llm_replies_reused": 0}
    other = world.ask(CooccurrenceConfig(rounds=2, min_votes=1))
    assert other.work == {"llm_calls": 0, "llm_replies_reused": 20}


def test_a_plan_shows_what_is_in_a_batch_and_writes_nothing(world, server):
    with pytest.raises(Stopped):
        world.ask(max_wait_s=0)
    before = {path.name: path.read_bytes() for path in world.path.glob("ledger*")}
    model = OpenAiChat(server.url, "m")
    with Ledger(world.path / "ledger.sqlite", read_only=True) as ledger:
        planned = plan(world.store, world.classes, DescriptionConfig(), model, ledger, AskConfig())
    model.close()
    assert (planned.num_requests, planned.num_kept) == (10, 0)
    assert (planned.num_in_batch, planned.num_calls, planned.most.tokens) == (10, 0, 0)
    assert {path.name: path.read_bytes() for path in world.path.glob("ledger*")} == before


def test_waiting_may_end_before_the_batch(world, server, expected):
    with pytest.raises(Stopped, match=r"batch batch-2 is under way at the endpoint; 0 of 10"):
        world.ask(max_wait_s=0)
    with pytest.raises(ValueError, match=r"batch-2 at .* holds 10 of these requests, which would"):
        world.ask(is_batch=False)
    assert server.num_requests == 10  # those of `expected`
    assert world.ask().artifact.manifest.content_hash == expected
    assert (server.num_billed, len(server.batches)) == (10, 1)


def test_ctrl_c_while_waiting(world, server, expected):
    def interrupt(event):
        if event == "looked" and server.count("looked") == 2:
            os.kill(os.getpid(), signal.SIGINT)

    server.on = interrupt
    with pytest.raises(Stopped, match=r"batch-2 is under way"):
        world.ask(poll_s=0.2)
    assert world.ask().artifact.manifest.content_hash == expected
    assert server.num_billed == 10


def test_nothing_to_ask_waits_for_no_batch(world, server):
    world.ask()
    other = CooccurrenceConfig(rounds=1, min_votes=1)
    server.answer = lambda body: '{"actions": []}'
    with pytest.raises(Stopped):
        world.ask(other, max_wait_s=0)
    for artifact in world.store.published("llm_calls"):
        shutil.rmtree(world.store.directory(artifact.ref))
    before = server.count("looked")
    assert world.ask().work == {"llm_calls": 0, "llm_replies_reused": 10}
    assert server.count("looked") == before


def test_the_cap_admits_as_many_as_fit(world, server, expected, tmp_path):
    prices = tmp_path / "prices.json"
    price = {"prompt": 100, "completion": 100, "batch": 0.5}
    prices.write_text(json.dumps({"version": "x", "prices": {"127.0.0.1": {"m": price}}}))
    with pytest.raises(
        Stopped, match=r"cap of 0.35 US dollars .*leaves no room.*[1-9] of 10 requests"
    ):
        world.ask(prices=prices, cap=Cap(max_usd=0.35))
    num_sent = server.num_billed
    assert 1 < num_sent < 10
    with world.ledger() as ledger:
        assert ledger.charged().usd == pytest.approx(num_sent * 18 * 100 / 1e6 / 2)
    outcome = world.ask(prices=prices, cap=Cap(max_usd=2))
    assert outcome.artifact.manifest.content_hash == expected
    assert server.num_billed == 10


def test_recorded_replies_need_no_batch(world):
    config = AskConfig(batch=BatchConfig(**QUICK))
    outcome = ask(
        world.store, world.classes, DescriptionConfig(), RecordedReplies(NAMES), None, None, config
    )
    assert outcome.work["recorded_replies"] == 10


def test_two_extractions_with_one_ledger_pay_once(world, server, expected):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(world.ask())) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    assert sorted(outcome.made for outcome in outcomes) == [False, True]
    assert server.num_billed == 10
