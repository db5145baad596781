"""The ledger: every attempt is durable before and after it is sent."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from knowledge.llm.budget import Charge
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import ChatReply, Dialect, LlmError, Sampling
from tests.knowledge.llm.ledger.attempts import ENDPOINT, MODEL, MOST, begin, key, request


def test_attempts_are_kept_with_what_they_brought(tmp_path):
    path = tmp_path / "new" / "ledger.sqlite"
    with Ledger(path) as ledger:
        assert ledger.answered(key(request())) is None
        first = begin(ledger, request())
        assert (first.attempt, first.status, first.request_key) == (1, "in_flight", key(request()))
        assert (first.charged_tokens, first.charged_usd, first.batch_key) == (100, 0.5, None)
        ledger.settle(first, LlmError(ENDPOINT, "broken", "mend it"), Charge())
        assert ledger.answered(key(request())) is None
        second = begin(ledger, request())
        reply = ChatReply(
            text="ok", finish_reason="stop", prompt_tokens=3, completion_tokens=2, duration_s=0.5
        )
        ledger.settle(second, reply, Charge(tokens=5, usd=0.1))
        other = begin(ledger, request(number=2))
        assert other.attempt == 1
    with Ledger(path) as ledger:
        failed, answered = ledger.attempts(key(request()))
        assert (failed.status, failed.error, failed.reply, failed.charged_tokens) == (
            "error",
            f"LLM endpoint {ENDPOINT}: broken; mend it",
            None,
            0,
        )
        assert answered == ledger.answered(key(request()))
        assert (answered.attempt, answered.reply, answered.completion_tokens) == (2, "ok", 2)
        assert (answered.charged_tokens, answered.charged_usd) == (5, 0.1)
        assert ledger.attempts(other.request_key) == [other]
        assert ledger.charged() == Charge(tokens=105, usd=0.6)


def test_one_charge_without_a_price_makes_the_sum_unknown(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        assert ledger.charged() == Charge()
        begin(ledger, request())
        begin(ledger, request("free"), Charge(tokens=0, usd=None))
        assert ledger.charged() == MOST
        begin(ledger, request("walk"), Charge(tokens=7, usd=None))
        assert ledger.charged() == Charge(tokens=107, usd=None)


def test_a_dialect_is_kept_by_endpoint_and_model(tmp_path):
    poor = Dialect(response_format="text", limit="max_tokens")
    with Ledger(tmp_path / "l") as ledger:
        assert ledger.dialect(ENDPOINT, MODEL) is None
        ledger.settle_dialect(ENDPOINT, MODEL, Dialect())
        ledger.settle_dialect(ENDPOINT, MODEL, poor)
    with Ledger(tmp_path / "l") as ledger:
        assert ledger.dialect(ENDPOINT, MODEL) == poor
        assert ledger.dialect(ENDPOINT, "other") is None


@pytest.mark.parametrize("status", ["refusal", "no_reply"])
def test_an_outcome_that_is_no_text_is_an_answer_too(tmp_path, status):
    with Ledger(tmp_path / "l") as ledger:
        attempt = begin(ledger, request())
        ledger.settle(attempt, ChatReply(text=None, status=status), Charge())
        assert ledger.answered(attempt.request_key).status == status


def test_key_depends_on_endpoint_body_and_round_only():
    limited = request().model_copy(update={"sampling": Sampling(max_completion_tokens=9)})
    old = Dialect(limit="max_tokens")
    keys = {
        key(request()),
        key(request(), endpoint="http://other/v1"),
        key(request(), model="n"),
        key(request("walk")),
        key(request(number=2)),
        key(limited),
        key(limited, dialect=old),
    }
    assert len(keys) == 7
    elsewhere = request().model_copy(
        update={"class_id": 9, "group": "g", "candidates": ("a",), "reask": 1}
    )
    assert key(elsewhere) in keys
    assert key(request(), dialect=old) in keys


def test_threads_share_a_ledger(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        barrier = threading.Barrier(8)

        def work(number):
            barrier.wait()
            for _ in range(5):
                attempt = begin(ledger, request(number=number))
                ledger.settle(attempt, ChatReply(text=str(number)), Charge(tokens=1))
                shared = begin(ledger, request("shared"))
                ledger.settle(shared, ChatReply(text="x"), Charge(tokens=1))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(1, 9)))
        shared = ledger.attempts(key(request("shared")))
        assert [attempt.attempt for attempt in shared] == list(range(1, 41))
        one = ledger.attempts(key(request(number=7)))
        assert [attempt.reply for attempt in one] == ["7"] * 5
        assert ledger.charged().tokens == 80


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_writes_that_wait_share_a_commit(tmp_path):
    statements = []
    with Ledger(tmp_path / "l") as ledger, ThreadPoolExecutor(8) as pool:
        ledger.file.connection.set_trace_callback(statements.append)
        with ledger.file.commits.lock:  # as a commit under way
            begun = [pool.submit(begin, ledger, request(number=each)) for each in range(1, 9)]
            wait_until(lambda: len(ledger.file.commits.waiting) == 8)
        assert {each.result(30).attempt for each in begun} == {1}
        assert statements.count("COMMIT") == 1


def test_what_shares_a_commit_is_as_if_one_after_another(tmp_path):
    """Also attempts at one request, and outcomes of one attempt: the first known one stays."""
    statements = []
    with Ledger(tmp_path / "l") as ledger, ThreadPoolExecutor(12) as pool:
        first = begin(ledger, request())
        ledger.file.connection.set_trace_callback(statements.append)
        with ledger.file.commits.lock:
            waiting = ledger.file.commits.waiting
            settled = []
            for text in ("one", "two"):
                reply = ChatReply(text=text)
                settled.append(pool.submit(ledger.settle, first, reply, Charge(tokens=1)))
                wait_until(lambda: len(waiting) == len(settled))
            begun = [pool.submit(begin, ledger, request()) for _ in range(3)]
            begun += [pool.submit(begin, ledger, request(number=each)) for each in range(2, 7)]
            wait_until(lambda: len(waiting) == 10)
        assert sorted(each.result(30).attempt for each in begun) == [1] * 5 + [2, 3, 4]
        assert statements.count("COMMIT") == 1
        assert [each.status for each in ledger.attempts(first.request_key)] == [
            "ok",
            *["in_flight"] * 3,
        ]
        assert ledger.answered(first.request_key).reply == "one"
        ((texts,),) = ledger.file.read("SELECT count(*) FROM requests")
        assert texts == 6


def test_more_than_a_statement_holds(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        entries = [(f"key {number}", "q", f"body {number}", MOST) for number in range(200)]
        ledger.begin_batch("b", ENDPOINT, MODEL, [*entries, entries[7]])
        attempts = ledger.batch_attempts("b")
        assert sorted(
            (each.request_key, each.attempt, each.request) for each in attempts
        ) == sorted([(key, 1, body) for key, _, body, _ in entries] + [("key 7", 2, "body 7")])
        assert ledger.begun == {(each.request_key, each.attempt) for each in attempts}
        ledger.settle_together((each, ChatReply(text="x"), Charge()) for each in attempts)
        answers = ledger.answers([*(key for key, *_ in entries), "unknown"])
        assert {key: each.attempt for key, each in answers.items()} == {
            key: 1 for key, *_ in entries
        }
        assert [len(ledger.attempts_of(["key 7", "key 8"])[key]) for key in ("key 7", "key 8")] == [
            2,
            1,
        ]


def test_an_interrupted_writer_leaves_nobody_waiting(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with Ledger(tmp_path / "l") as ledger, ThreadPoolExecutor(3) as pool:
        with ledger.file.commits.lock:
            first = pool.submit(begin, ledger, request(number=1))
            wait_until(lambda: len(ledger.file.commits.waiting) == 1)
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            pool.submit(lambda: (time.sleep(0.5), ledger.file.commits.lock.release()))
            with pytest.raises(KeyboardInterrupt):
                begin(ledger, request(number=2))
            ledger.file.commits.lock.acquire()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        last = pool.submit(begin, ledger, request(number=3))
        assert (first.result(30).attempt, last.result(30).attempt) == (1, 1)


def test_a_write_that_fails_is_told_to_its_writer(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        attempt = begin(ledger, request())
        ledger.file.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(ValueError, match="every reply it took before is safe"):
            ledger.settle(attempt, ChatReply(text="x"), Charge())
        ledger.file.connection.execute("PRAGMA query_only = OFF")
        ledger.settle(attempt, ChatReply(text="x"), Charge())
        assert ledger.answered(attempt.request_key).reply == "x"
