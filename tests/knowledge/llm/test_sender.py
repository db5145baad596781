"""Sender: what is retried, how long everybody waits, and when all stop."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from artifacts.provenance import canonical_json
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions, shared_limits
from knowledge.llm.messages import ChatReply, LlmError, Stopped
from knowledge.llm.options import Cap
from tests.knowledge.llm.sending import request, send_all, sender_of
from tests.llm_server import BEHAVIOURS

RETRIED = ("408", "409", "429", "500", "502", "503", "504", "reset", "reset_middle", "half_body")
RETRIED_SOON = ("429_garbage", "429_no_date", "429_negative", "429_past_date", "status_html")
FINAL = (
    *("400", "401", "402", "403", "404", "422", "insufficient_quota"),
    *("html", "empty_body", "broken_json", "error_body", "no_choices", "empty_choices"),
    *("odd_choices", "null_content"),
)
ANSWERS = (
    *("length", "empty_length", "refusal", "content_filter", "fenced", "prose", "surrogate"),
    *("odd_usage", "no_usage", "huge_usage", "echo_key", "slow_body", "nan", "duplicate_keys"),
    *("filtered", "policy", "parts", "thoughts_in_total", "gzip", "closed"),
)


@pytest.mark.parametrize("behaviour", [*RETRIED, *RETRIED_SOON])
def test_what_may_pass_is_tried_again(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour if number < 3 else None
    sender = sender_of(model, ledger)
    answer = sender.answer(request())
    assert (answer.status, answer.attempt) == ("ok", 3)
    assert answer == ledger.answered(answer.request_key)
    attempts = ledger.attempts(answer.request_key)
    assert [attempt.status for attempt in attempts] == ["error", "error", "ok"]
    assert server.num_requests == sender.num_attempts == 3
    assert sender.num_answers == 1


@pytest.mark.parametrize("behaviour", [each for each in RETRIED if each != "429"])
def test_it_is_given_up_after_the_last_attempt(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError):
        sender_of(model, ledger, attempts=2).answer(request())
    assert server.num_requests == 2


@pytest.mark.parametrize("behaviour", FINAL)
def test_what_stays_is_sent_once(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    sender = sender_of(model, ledger)
    with pytest.raises(LlmError):
        sender.answer(request())
    assert server.num_requests == 1
    (attempt,) = ledger.attempts(sender.key(request()))
    assert attempt.status == "error"
    assert attempt.error


@pytest.mark.parametrize("behaviour", ANSWERS)
def test_an_answer_of_any_quality_is_kept_and_not_sent_again(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    sender = sender_of(model, ledger)
    answer = sender.answer(request())
    assert sender.answered(request()).reply == answer.reply
    assert sender.answered(request()).status == answer.status
    assert server.num_requests == 1


def test_every_behaviour_is_tested_somewhere():
    waits = {"429_seconds", "429_ms", "429_date", "429_absurd", "503_seconds"}
    dialects = {"no_json_schema", "no_response_format", "no_max_completion_tokens"}
    dialects |= {"no_json_schema_404", "no_json_schema_500"}
    extraction = {"fenced_crlf", "inner_surrogate", "wrong_form", "invented", "only_inventions"}
    other = (
        {"moved", "status", "415", "501", "plain_and_old", "respelled"}
        | extraction
        | waits
        | dialects
    )
    assert set(BEHAVIOURS) - {*RETRIED, *RETRIED_SOON, *FINAL, *ANSWERS} == other


def test_a_429_that_does_not_say_how_long_is_no_attempt(server, model, ledger):
    server.behave = lambda number, body: "429" if number <= 9 else None
    assert sender_of(model, ledger, attempts=1).answer(request()).attempt == 10


def test_a_429_that_lasts_stops_all_and_the_next_run_goes_on(server, model, ledger):
    server.behave = lambda number, body: "429"
    sender = sender_of(model, ledger, attempts=1, max_wait_s=0.2)
    with pytest.raises(Stopped, match=r"answers 429 since [\d.]+ s, max_wait_s=0\.2: status 429"):
        sender.answer(request())
    with pytest.raises(Stopped, match="answers 429"):
        sender.answer(request(2))
    server.behave = lambda number, body: None
    assert sender_of(model, ledger).answer(request()).status == "ok"


@pytest.mark.parametrize("behaviour", ["null_content", "no_choices", "broken_json", "html"])
def test_an_answer_unreadable_twice_over_all_runs_is_no_reply(server, model, ledger, behaviour):
    server.behave = lambda number, body: behaviour
    with pytest.raises(LlmError):
        sender_of(model, ledger).answer(request())
    sender = sender_of(model, ledger)
    assert sender.answer(request()).status == "no_reply"
    assert server.num_requests == 2
    first, second = ledger.attempts(sender.key(request()))
    assert (first.status, second.status) == ("error", "no_reply")
    assert first.reply == second.reply != ""
    assert first.charged_tokens == second.charged_tokens > 100


@pytest.mark.parametrize(
    ("behaviour", "least"), [("429_seconds", 1.0), ("429_ms", 0.3), ("503_seconds", 1.0)]
)
def test_all_wait_as_long_as_one_is_asked_to(server, model, ledger, behaviour, least):
    server.behave = lambda number, body: behaviour if number == 1 else None
    sender = sender_of(model, ledger, concurrency=4)
    with pytest.raises(LlmError):
        sender_of(model, ledger, attempts=1, concurrency=4).answer(request())
    assert len(send_all(sender, range(2, 10), workers=8)) == 8
    assert server.num_requests == 9
    assert server.arrived[1] - server.arrived[0] >= least


@pytest.mark.parametrize(
    ("behaviour", "max_wait_s"), [("429_date", 120), ("429_absurd", 120), ("503_seconds", 0.5)]
)
def test_too_long_a_wait_stops_all_and_the_next_run_goes_on(
    server, model, ledger, behaviour, max_wait_s
):
    sender = sender_of(model, ledger, max_wait_s=max_wait_s, concurrency=2)
    has_stopped, stop = threading.Event(), sender.stop

    def told(error):
        stop(error)
        has_stopped.set()

    sender.stop = told

    def behave(number, body):
        if number > 3:  # under way while the third is refused
            assert has_stopped.wait(60)
        return behaviour if number == 3 else None

    server.behave = behave
    outcomes = send_all(sender, range(1, 21), workers=2)
    assert server.num_requests <= 4  # what was under way besides
    stops = [outcome for outcome in outcomes if isinstance(outcome, Stopped)]
    assert len(stops) == 20 - (server.num_requests - 1)
    assert "asks to wait" in str(stops[0])
    assert len(str(stops[0])) < 200
    with pytest.raises(Stopped, match="asks to wait"):
        sender.answer(request(99))
    server.behave = lambda number, body: None
    sender = sender_of(model, ledger, max_wait_s=max_wait_s, concurrency=2)
    todo = [number for number in range(1, 21) if sender.answered(request(number)) is None]
    assert [outcome.status for outcome in send_all(sender, todo, 2)] == ["ok"] * len(todo)


def test_a_stop_ends_the_others_waits(server, model, ledger):
    server.behave = lambda number, body: "429_seconds" if number == 1 else "429_date"
    sender = sender_of(model, ledger, attempts=9, max_wait_s=60, concurrency=8)
    outcomes = send_all(sender, range(1, 17), workers=8)
    assert {type(outcome) for outcome in outcomes} == {Stopped}


def test_a_429_lowers_the_concurrency_which_comes_back(server, model, ledger):
    server.delay_s = 0.005
    server.behave = lambda number, body: "429" if number <= 8 else None
    sender = sender_of(model, ledger, attempts=5, concurrency=8)
    send_all(sender, range(1, 9), workers=16)
    assert server.most_in_flight <= 8
    limits = shared_limits(model.endpoint, model.model, LimitsOptions(concurrency=8))
    assert limits.allowed < 8
    send_all(sender, range(100, 400), workers=16)
    assert limits.allowed == 8
    assert server.most_in_flight <= 8


def test_concurrency_is_shared_by_all_senders_of_a_process(server, model, tmp_path):
    server.delay_s = 0.01
    with (
        Ledger(tmp_path / "a") as one,
        Ledger(tmp_path / "b") as two,
        ThreadPoolExecutor(2) as pool,
    ):
        senders = [sender_of(model, ledger, concurrency=3) for ledger in (one, two)]
        list(pool.map(lambda sender: send_all(sender, range(1, 31), workers=8), senders))
    assert server.num_requests == 60
    assert server.most_in_flight == 3


def test_a_reply_that_is_being_recorded_is_not_in_flight(server, model, ledger):
    """The only slot is free for the next request while the ledger is busy."""
    sender = sender_of(model, ledger, concurrency=1)
    sender.answer(request(1))
    with ThreadPoolExecutor(1) as pool:
        with ledger.file.commits.lock:
            under_way = pool.submit(sender.answer, request(2))
            server.behave = lambda number, body: ledger.file.commits.lock.acquire() and None
            deadline = time.monotonic() + 30
            while not ledger.file.commits.waiting:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        while server.num_requests < 2 or not ledger.file.commits.waiting:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        limits = shared_limits(model.endpoint, model.model, LimitsOptions(concurrency=1))
        with limits.slot(1):
            pass
        assert not under_way.done()
        ledger.file.commits.lock.release()
        assert under_way.result(30).status == "ok"


def test_requests_per_minute_are_kept(server, model, ledger):
    started = time.monotonic()
    sender = sender_of(model, ledger, concurrency=8, requests_per_minute=240)  # 4 a second
    send_all(sender, range(1, 8), workers=8)
    assert server.arrived[6] - started >= 0.75


def test_tokens_per_minute_are_kept(server, model, ledger):
    # Some 105 tokens each, 210 a second.
    started = time.monotonic()
    sender = sender_of(model, ledger, concurrency=8, tokens_per_minute=12_600)
    send_all(sender, range(1, 6), workers=8)
    assert server.arrived[4] - started >= 1.0


class Broken:
    """A model with an error in it."""

    endpoint, model, recorded = "http://broken", "m", False

    def complete(self, request, dialect):
        if request.round == 1:
            raise ZeroDivisionError
        return ChatReply(text="x", prompt_tokens=1, completion_tokens=1)


def test_an_unforeseen_error_leaves_nothing_reserved(ledger):
    sender = sender_of(Broken(), ledger, cap=Cap(max_tokens=600))
    with pytest.raises(ZeroDivisionError):
        sender.answer(request(1))
    # Its 291 tokens may have been billed, so there is room for one more at a time, two tokens each;
    # and nobody waits for the broken one to end.
    outcomes = send_all(sender, range(2, 40), workers=4)
    assert [type(outcome) for outcome in outcomes].count(Stopped) > 20


class Recorded:
    endpoint, model, recorded = "recorded", "m", True

    def complete(self, request, dialect):
        return ChatReply(text="x")


def test_recorded_replies_know_no_limits():
    with Ledger(None) as ledger:
        sender = sender_of(
            Recorded(), ledger, cap=Cap(max_usd=1e-9, max_tokens=1), requests_per_minute=1
        )
        sender.settle(request())
        assert len(send_all(sender, range(1, 21), workers=4)) == 20
        assert sender.num_answers == 20


def test_a_batch_keeps_what_cannot_be_read_and_gives_it_up_too(model, ledger):
    sender = sender_of(model, ledger)
    key, body = sender.key(request()), canonical_json(sender.body(request()))
    for name in ("one", "two"):
        most = sender.reserve_in_batch(request())
        ledger.begin_batch(name, model.endpoint, "m", [(key, "description", body, most)])
        error = LlmError(model.endpoint, "p", "r", 200, body="<html>")
        sender.settle_batch([(ledger.batch_attempts(name)[0], error)])
    kept = [(attempt.status, attempt.reply) for attempt in ledger.attempts(key)]
    assert kept == [("error", "<html>"), ("no_reply", "<html>")]


def test_a_batch_reserves_for_an_endpoint_that_ignores_the_limit(model, ledger):
    sender = sender_of(model, ledger)
    most = sender.reserve_in_batch(request())
    body = canonical_json(sender.body(request()))
    ledger.begin_batch("b", model.endpoint, "m", [(sender.key(request()), "q", body, most)])
    reply = ChatReply(text="x", prompt_tokens=9, completion_tokens=300)
    sender.settle_batch([(ledger.batch_attempts("b")[0], reply)])
    assert sender.reserve_in_batch(request()).tokens == most.tokens + 200
