"""The ledger's file: what survives, who may write, and older versions."""

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from knowledge.llm.budget import Charge
from knowledge.llm.ledger.ledger import Ledger
from tests.knowledge.llm.ledger.attempts import ENDPOINT, MODEL, MOST, begin, key, request


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
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, check=False)
    assert done.returncode == -9
    with Ledger(path) as ledger:
        assert ledger.answered("run").reply == "yes"
        (open_attempt,) = ledger.attempts("walk")
        assert open_attempt.status == "in_flight"
        assert ledger.charged().tokens == 10


def test_writes_are_synchronous(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        assert ledger.file.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert ledger.file.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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
