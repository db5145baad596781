"""Extraction that fails or is stopped: what was answered is kept, and no file holds the key."""

import logging
import re
import sqlite3
import traceback
from collections import Counter
from contextlib import closing

import pytest

from artifacts.store import Store
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import LlmError, Stopped
from knowledge.llm.options import Cap
from tests.knowledge.asking import KEY, described, fast, publish_classes


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


class BreaksAtSit(OpenAiChat):
    """A client with an error in it."""

    def complete(self, request, dialect):
        return 1 / 0 if request.class_name == "sit" else super().complete(request, dialect)


def test_an_unforeseen_error_is_not_swallowed(store, classes, ledger, server):
    with closing(BreaksAtSit(server.url, "test-model")) as model, pytest.raises(ZeroDivisionError):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(1))
    assert store.published("llm_calls") == []


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
