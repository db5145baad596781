"""The ledger: every attempt is durable before and after it is sent."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knowledge.llm.ledger import Ledger
from knowledge.llm.messages import ChatReply, ChatRequest, LlmError, Message

ENDPOINT, MODEL = "http://localhost/v1", "m"


def request(name="run", number=1):
    return ChatRequest(
        question="description",
        class_id=3,
        class_name=name,
        round=number,
        messages=(Message(role="user", content=f"What is {name}?"),),
    )


def test_attempts_are_kept_with_what_they_brought(tmp_path):
    path = tmp_path / "new" / "ledger.sqlite"
    key = request().key(ENDPOINT, MODEL)
    with Ledger(path) as ledger:
        assert ledger.answered(key) is None
        first = ledger.begin(request(), ENDPOINT, MODEL)
        assert (first.attempt, first.status, first.request_key) == (1, "in_flight", key)
        ledger.fail(first, LlmError(ENDPOINT, "broken", "mend it"))
        assert ledger.answered(key) is None
        second = ledger.begin(request(), ENDPOINT, MODEL)
        reply = ChatReply(
            text="ok", finish_reason="stop", prompt_tokens=3, completion_tokens=2, duration_s=0.5
        )
        ledger.settle(second, reply)
        other = ledger.begin(request(number=2), ENDPOINT, MODEL)
        assert other.attempt == 1
    with Ledger(path) as ledger:
        failed, answered = ledger.attempts(key)
        assert (failed.status, failed.error, failed.reply) == (
            "error",
            f"LLM endpoint {ENDPOINT}: broken; mend it",
            None,
        )
        assert answered == ledger.answered(key)
        assert (answered.attempt, answered.reply, answered.completion_tokens) == (2, "ok", 2)
        assert ledger.attempts(other.request_key) == [other]


@pytest.mark.parametrize("status", ["refusal", "no_reply"])
def test_an_outcome_that_is_no_text_is_an_answer_too(tmp_path, status):
    with Ledger(tmp_path / "l") as ledger:
        attempt = ledger.begin(request(), ENDPOINT, MODEL)
        ledger.settle(attempt, ChatReply(text=None, status=status))
        assert ledger.answered(attempt.request_key).status == status


def test_key_depends_on_endpoint_model_body_and_round_only():
    keys = {
        request().key(ENDPOINT, MODEL),
        request().key("http://other/v1", MODEL),
        request().key(ENDPOINT, "n"),
        request("walk").key(ENDPOINT, MODEL),
        request(number=2).key(ENDPOINT, MODEL),
    }
    assert len(keys) == 5
    elsewhere = request().model_copy(update={"class_id": 9, "group": "g", "candidates": ("a",)})
    assert elsewhere.key(ENDPOINT, MODEL) in keys


def test_threads_share_a_ledger(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        barrier = threading.Barrier(8)

        def work(number):
            barrier.wait()
            for _ in range(5):
                attempt = ledger.begin(request(number=number), ENDPOINT, MODEL)
                ledger.settle(attempt, ChatReply(text=str(number)))
                shared = ledger.begin(request("shared"), ENDPOINT, MODEL)
                ledger.settle(shared, ChatReply(text="x"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(1, 9)))
        shared = ledger.attempts(request("shared").key(ENDPOINT, MODEL))
        assert [attempt.attempt for attempt in shared] == list(range(1, 41))
        one = ledger.attempts(request(number=7).key(ENDPOINT, MODEL))
        assert [attempt.reply for attempt in one] == ["7"] * 5


def test_rows_survive_the_process(tmp_path):
    path = tmp_path / "l"
    script = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from knowledge.llm.ledger import Ledger\n"
        "from knowledge.llm.messages import *\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "for name in ('run', 'walk'):\n"
        "    request = ChatRequest(question='description', class_id=3, class_name=name,\n"
        "        messages=(Message(role='user', content=f'What is {name}?'),))\n"
        "    attempt = ledger.begin(request, 'http://localhost/v1', 'm')\n"
        "    if name == 'run': ledger.settle(attempt, ChatReply(text='yes'))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, check=False)
    assert done.returncode == -9
    with Ledger(path) as ledger:
        assert ledger.answered(request().key(ENDPOINT, MODEL)).reply == "yes"
        (open_attempt,) = ledger.attempts(request("walk").key(ENDPOINT, MODEL))
        assert open_attempt.status == "in_flight"


def test_writes_are_synchronous(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_errors_name_the_file(tmp_path):
    page = tmp_path / "page.html"
    page.write_text("<html>" * 1000)
    with pytest.raises(ValueError, match=r"page\.html: file is not a database; give another path"):
        Ledger(page)
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(ValueError, match="has version 7, this program writes 1"):
        Ledger(newer)
    with pytest.raises(ValueError, match="unable to open"):
        Ledger(tmp_path)


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
