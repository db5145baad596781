"""Extractions that are killed again and again end as if nothing had happened.

The test starts this file as a process, which forks a child per life, so that a kill costs a fork.
The server lives in the test's own process.
"""

import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pandas as pd

from artifacts.files import LOCK_FILE
from artifacts.provenance import canonical_json
from artifacts.store import Store
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds import cooccurrence
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.options import AskingOptions, RetryOptions, SendOptions
from tests.llm_server import LlmServer
from tests.torture import with_kills

NUM_CLASSES, ROUNDS = 16, 15
LONGEST_LIFE_S = 0.2
SEND = SendOptions(limits=LimitsOptions(concurrency=8), retry=RetryOptions(pause_s=0.01))
CONFIG = cooccurrence.CooccurrenceConfig(rounds=ROUNDS, num=5)


def chance(body):
    """A number in [0, 1) that depends on the request alone."""
    digest = hashlib.sha256(canonical_json(body).encode()).hexdigest()
    return int(digest[:8], 16) / 2**32


def answer(body):
    """A few of the names asked about, always the same for a request."""
    names = re.findall(r'"(action \d+)"', body["messages"][1]["content"])
    first = int(chance(body) * (len(names) - 6))
    return json.dumps({"actions": names[first : first + 6]})


def behave(number, body):
    """One reply in ten is cut off, and one in ten unusable."""
    return {0: "length", 1: "prose"}.get(int(chance(body) * 10))


def extract(root, model):
    """Both artifacts."""
    store = Store(root / "store")
    names = [f"action {number}" for number in range(NUM_CLASSES)]
    listed = pd.DataFrame({"class_id": range(NUM_CLASSES), "name": names, "group": "all"})
    classes = register_classes(store, "demo", listed).artifact
    with Ledger(root / "ledger.sqlite") as ledger:
        calls = ask(store, classes, CONFIG, model, ledger, config=AskingOptions(send=SEND)).artifact
    return calls, cooccurrence.build(store, classes, calls, CONFIG).artifact


def live(root, model, life_s):
    """Extract in a child that is killed after a while; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            extract(root, model)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    end = time.monotonic() + life_s
    while time.monotonic() < end:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            assert status == 0, "see stderr"
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(root, url, num_kills):
    """Kill until there were enough kills; then let the last extraction finish."""
    chances = random.Random(0)
    model = OpenAiChat(url, "m")
    kills = number = 0
    while kills < num_kills:
        while live(root / str(number), model, chances.uniform(0, LONGEST_LIFE_S)):
            kills += 1
            if kills == num_kills:
                assert not live(root / str(number), model, 60)
                break
        number += 1
    print(json.dumps({"kills": kills, "extractions": number}))


def published(artifact):
    """Key and bytes of every file but the manifest; a kill while publishing may leave the lock."""
    directory = Path(artifact.store.directory(artifact.ref))
    files = {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if path.name not in ("manifest.json", LOCK_FILE)
    }
    return artifact.manifest.key, artifact.manifest.content_hash, files


@with_kills(few=10, many=500)
def test_kills_change_no_byte_and_pay_for_nothing_twice(tmp_path, num_kills):
    with LlmServer(answer, behave) as server:
        model = OpenAiChat(server.url, "m")
        undisturbed = extract(tmp_path / "undisturbed", model)
        model.close()
        least = server.num_requests
        assert least > NUM_CLASSES * ROUNDS
        server.requests.clear()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.knowledge.extraction.test_kills",
                tmp_path,
                server.url,
                str(num_kills),
            ],
            cwd=Path(__file__).parents[3],
            stdout=subprocess.PIPE,
            check=True,
        )
        result = json.loads(done.stdout)
        time.sleep(0.1)  # what was on its way at the last kill
        answered = server.num_requests
    assert result["kills"] == num_kills
    in_flight = 0
    for number in range(result["extractions"]):
        root = tmp_path / str(number)
        store = Store(root / "store")
        ours = [store.get("llm_calls/demo-cooccurrence"), store.get("cooccurrence/demo")]
        for one, other in zip(ours, undisturbed, strict=True):
            one.verify()
            assert published(one) == published(other)
        with closing(sqlite3.connect(root / "ledger.sqlite")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            statuses = Counter(status for (status,) in db.execute("SELECT status FROM attempts"))
            answered_twice = db.execute(
                "SELECT count(*) FROM (SELECT 1 FROM attempts WHERE status = 'ok' "
                "GROUP BY request_key HAVING count(*) > 1)"
            ).fetchone()[0]
        assert answered_twice == 0
        assert set(statuses) <= {"ok", "in_flight"}
        assert statuses["ok"] == least
        report = ours[0].manifest.report
        assert report["possibly_billed"] == statuses["in_flight"]
        assert report["attempts"] == statuses.total()
        in_flight += statuses["in_flight"]
    minimum = least * result["extractions"]
    assert minimum <= answered <= minimum + in_flight
    print(
        f"{result}, {least} calls each; {answered - minimum} more, {in_flight} in flight at kills"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
