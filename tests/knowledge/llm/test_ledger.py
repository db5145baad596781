"""The ledger: every attempt is durable before and after it is sent."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from artifacts.provenance import canonical_json
from knowledge.llm.budget import Charge
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import (
    ChatReply,
    ChatRequest,
    Dialect,
    LlmError,
    Message,
    Sampling,
    request_key,
)

ENDPOINT, MODEL = "http://localhost/v1", "m"
MOST = Charge(tokens=100, usd=0.5)


def request(name="run", number=1):
    return ChatRequest(
        question="description",
        class_id=3,
        class_name=name,
        round=number,
        messages=(Message(role="user", content=f"What is {name}?"),),
    )


def key(asked, endpoint=ENDPOINT, model=MODEL, dialect=Dialect()):  # noqa: B008
    return request_key(endpoint, asked.body(model, dialect), asked.round)


def begin(ledger, asked, most=MOST):
    body = canonical_json(asked.body(MODEL, Dialect()))
    return ledger.begin(key(asked), asked.question, ENDPOINT, MODEL, body, most)


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
        ledger._file.connection.set_trace_callback(statements.append)
        with ledger._file.commits.lock:  # as a commit under way
            begun = [pool.submit(begin, ledger, request(number=each)) for each in range(1, 9)]
            wait_until(lambda: len(ledger._file.commits.waiting) == 8)
        assert {each.result(30).attempt for each in begun} == {1}
        assert statements.count("COMMIT") == 1


def test_what_shares_a_commit_is_as_if_one_after_another(tmp_path):
    """Also attempts at one request, and outcomes of one attempt: the first known one stays."""
    statements = []
    with Ledger(tmp_path / "l") as ledger, ThreadPoolExecutor(12) as pool:
        first = begin(ledger, request())
        ledger._file.connection.set_trace_callback(statements.append)
        with ledger._file.commits.lock:
            waiting = ledger._file.commits.waiting
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
        ((texts,),) = ledger._file.read("SELECT count(*) FROM requests")
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
        with ledger._file.commits.lock:
            first = pool.submit(begin, ledger, request(number=1))
            wait_until(lambda: len(ledger._file.commits.waiting) == 1)
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            pool.submit(lambda: (time.sleep(0.5), ledger._file.commits.lock.release()))
            with pytest.raises(KeyboardInterrupt):
                begin(ledger, request(number=2))
            ledger._file.commits.lock.acquire()
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        last = pool.submit(begin, ledger, request(number=3))
        assert (first.result(30).attempt, last.result(30).attempt) == (1, 1)


def test_rows_survive_the_process(tmp_path):
    path = tmp_path / "l"
    script = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from knowledge.llm.budget import Charge\n"
        "from knowledge.llm.ledger.ledger import Ledger\n"
        "from knowledge.llm.messages import ChatReply\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for name in ('run', 'walk'):\n"
        "    attempt = ledger.begin(name, 'q', 'http://host/v1', 'm', '{}', Charge(tokens=9))\n"
        "    if name == 'run': ledger.settle(attempt, ChatReply(text='yes'), Charge(tokens=1))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, check=False)
    assert done.returncode == -9
    with Ledger(path) as ledger:
        assert ledger.answered("run").reply == "yes"
        (open_attempt,) = ledger.attempts("walk")
        assert open_attempt.status == "in_flight"
        assert ledger.charged().tokens == 10


def test_writes_are_synchronous(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        assert ledger._file.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert ledger._file.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_errors_name_the_file(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<html>" * 1000)
    with pytest.raises(ValueError, match=r"page\.html: file is not a database; give another path"):
        Ledger(page)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as db:
        db.execute(_VERSION_1)
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(ValueError, match="has version 7, this program writes 3; update the"):
        Ledger(newer)
    with pytest.raises(ValueError, match="unable to open"):
        Ledger(tmp_path)


@pytest.mark.parametrize("version", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("table", ["moz_places (url)", "attempts (who)"])
def test_a_database_of_something_else_is_left_alone(tmp_path, version, table):
    path = tmp_path / "places.sqlite"
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE {table}")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"places\.sqlite is a database of something else \(vers"):
        Ledger(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["places.sqlite"]


@contextmanager
def without_rights():
    """Not as root, who may write everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_ledger_that_may_not_be_written_can_be_planned_with(tmp_path):
    with TemporaryDirectory() as name:  # unlike tmp_path, others may enter it
        path = Path(name) / "ledger.sqlite"
        with Ledger(path) as ledger:
            begin(ledger, request())
        path.chmod(0o444)
        path.parent.chmod(0o555)
        with without_rights():
            with pytest.raises(ValueError, match=r"make it and its directory writable \(another"):
                Ledger(path)
            with Ledger(path, read_only=True) as copy:
                assert copy.charged() == MOST
        path.chmod(0o644)
        told = pytest.raises(ValueError, match=r"make it and its directory writable \(another")
        with Ledger(path) as ledger, without_rights(), told, ledger.exclusive():
            pass
        path.parent.chmod(0o755)


def test_reading_alone_writes_nothing(tmp_path):
    path = tmp_path / "l"
    save_version_1(path, request())
    for _ in range(2):
        before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
        with Ledger(path, read_only=True) as copy:
            assert copy.answered(key(request())).reply == "yes"
            assert begin(copy, request()).attempt == 3
        assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
        with Ledger(path) as ledger:  # of the newest version now
            begin(ledger, request("walk"))
            with Ledger(path, read_only=True) as copy:
                assert copy.charged() == ledger.charged()
    with pytest.raises(ValueError, match=r"none: .*unable to open"):
        Ledger(tmp_path / "none", read_only=True)


def test_one_at_a_time_is_exclusive(tmp_path, caplog):
    entered = threading.Event()
    with Ledger(tmp_path / "l") as one, Ledger(tmp_path / "l") as other:

        def enter():
            with other.exclusive():
                entered.set()

        with ThreadPoolExecutor(1) as pool:
            with one.exclusive():
                waiting = pool.submit(enter)
                assert not entered.wait(0.2)
            waiting.result(10)
        assert "another extraction uses it; waiting" in caplog.text
    with Ledger(None) as memory, memory.exclusive():
        pass


def test_many_may_open_a_new_ledger_at_once(tmp_path):
    """Switching a new file to write-ahead logging is where SQLite would refuse instead of wait."""

    for number in range(100):
        barrier = threading.Barrier(4, timeout=30)

        def opened(_, number=number, barrier=barrier):
            barrier.wait()
            with Ledger(tmp_path / f"{number}.sqlite") as ledger:
                return ledger.attempts("none")

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(opened, range(4))) == [[]] * 4


_VERSION_1 = """
CREATE TABLE attempts (
    request_key TEXT NOT NULL, attempt INTEGER NOT NULL, question TEXT NOT NULL,
    endpoint TEXT NOT NULL, model TEXT NOT NULL, request TEXT NOT NULL, status TEXT NOT NULL,
    reply TEXT, finish_reason TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, error TEXT,
    sent_at TEXT NOT NULL, duration_s REAL, PRIMARY KEY (request_key, attempt)
) WITHOUT ROWID
"""


def save_version_1(path, asked):
    rows = [
        (key(asked), 1, "in_flight", None, None, None),
        (key(asked), 2, "ok", "yes", 30, 4),
    ]
    with sqlite3.connect(path) as db:
        db.execute(_VERSION_1)
        for request_key_, attempt, status, reply, prompt, completion in rows:
            db.execute(
                "INSERT INTO attempts VALUES (?, ?, 'q', ?, ?, '{}', ?, ?, 'stop', ?, ?, NULL, "
                "'2026-01-01T00:00:00.000+00:00', 0.5)",
                (request_key_, attempt, ENDPOINT, MODEL, status, reply, prompt, completion),
            )
        db.execute("PRAGMA user_version = 1")
    db.close()


def test_a_ledger_of_version_1_is_migrated_with_its_replies(tmp_path):
    save_version_1(tmp_path / "l", request())
    for _ in range(2):
        with Ledger(tmp_path / "l") as ledger:
            answered = ledger.answered(key(request()))
            assert (answered.reply, answered.attempt, answered.duration_s) == ("yes", 2, 0.5)
            assert (answered.charged_tokens, answered.charged_usd) == (34, None)
            assert ledger.charged() == Charge(tokens=34, usd=None)
            assert ledger.dialect(ENDPOINT, MODEL) is None
    with Ledger(tmp_path / "l") as ledger:
        assert begin(ledger, request()).attempt == 3


_VERSION_2 = _VERSION_1.replace(
    "PRIMARY KEY",
    "charged_tokens INTEGER NOT NULL DEFAULT 0, charged_usd REAL, batch_key TEXT, PRIMARY KEY",
)


def test_a_ledger_of_version_2_is_migrated_with_its_requests(tmp_path):
    row = "('k', ?, 'q', 'e', 'm', '{\"body\": 1}', ?, ?, NULL, 3, 4, NULL, 'now', 0.5, 7, 0.25, ?)"
    with sqlite3.connect(tmp_path / "l") as db:
        db.execute(_VERSION_2)
        db.execute("CREATE TABLE dialects (endpoint, model, dialect, settled_at)")
        db.execute("CREATE TABLE batches (batch_key)")
        db.execute(f"INSERT INTO attempts VALUES {row}", (1, "error", None, "b"))
        db.execute(f"INSERT INTO attempts VALUES {row}", (2, "ok", "yes", None))
        db.execute("PRAGMA user_version = 2")
    db.close()
    for _ in range(2):
        with Ledger(tmp_path / "l") as ledger:
            failed, answered = ledger.attempts("k")
            assert (failed.status, failed.batch_key) == ("error", "b")
            assert (answered.reply, answered.charged_usd, answered.batch_key) == ("yes", 0.25, None)
            assert failed.request == answered.request == '{"body": 1}'
            assert ledger.charged() == Charge(tokens=14, usd=0.5)


def test_many_may_migrate_at_once(tmp_path):
    save_version_1(tmp_path / "l", request())
    barrier = threading.Barrier(4, timeout=30)

    def reply(_):
        barrier.wait()
        with Ledger(tmp_path / "l") as ledger:
            return ledger.answered(key(request())).reply

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reply, range(4))) == ["yes"] * 4


def test_a_write_that_fails_is_told_to_its_writer(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        attempt = begin(ledger, request())
        ledger._file.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(ValueError, match="every reply it took before is safe"):
            ledger.settle(attempt, ChatReply(text="x"), Charge())
        ledger._file.connection.execute("PRAGMA query_only = OFF")
        ledger.settle(attempt, ChatReply(text="x"), Charge())
        assert ledger.answered(attempt.request_key).reply == "x"
