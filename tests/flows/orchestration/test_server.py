"""The embedded server: no record is lost, no process is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.strangers import run_among_strangers

ROOT = Path(__file__).parents[3]
TASKS = 300

CODE = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started without it
from flows.orchestration.server import prefect_server
with prefect_server():
    from prefect import flow, task
    from prefect.settings import get_current_settings
    assert get_current_settings().flows.heartbeat_frequency is None
    @task
    def double(x):
        return 2 * x
    @flow
    def many(n):
        return sum(future.result() for future in double.map(range(n)))
    print(os.environ["PREFECT_API_URL"], flush=True)
    if len(sys.argv) > 1:
        time.sleep(60)
    print(many({tasks}), flush=True)
"""


def start(home, *arguments):
    environment = {**os.environ, "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.Popen(
        [sys.executable, "-c", CODE.replace("{tasks}", str(TASKS)), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )


def listening(url):
    import httpx

    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until_gone(url):
    for _ in range(100):
        if not listening(url):
            return True
        time.sleep(0.1)
    return False


def test_every_task_run_is_recorded_and_the_server_is_stopped(server, prefect_home):
    """`server` has made the database; the records of this run must be in it afterwards."""
    import sqlite3

    process = start(prefect_home)
    output, _ = process.communicate(timeout=120)
    url, result = output.split()
    assert process.returncode == 0
    assert int(result) == TASKS * (TASKS - 1)
    assert not listening(url)
    with sqlite3.connect(prefect_home / "prefect.db") as database:
        [(count,)] = database.execute(
            "select count(*) from task_run where name like 'double%' and state_type = 'COMPLETED'"
        ).fetchall()
    database.close()
    assert count == TASKS


def test_ctrl_c_ends_the_command_at_once_and_the_server_with_it(server, prefect_home):
    process = start(prefect_home, "wait")
    url = process.stdout.readline().strip()
    assert listening(url)
    before = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert time.monotonic() - before < 20
    assert wait_until_gone(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_leaves_no_server(server, prefect_home, number):
    process = start(prefect_home, "wait")
    url = process.stdout.readline().strip()
    assert listening(url)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode in (128 + number, -number)
    assert wait_until_gone(url)


HEARTBEAT = """
from flows.orchestration.server import prefect_server
with prefect_server():
    from prefect.settings import get_current_settings
    print(get_current_settings().flows.heartbeat_frequency)
"""


def test_a_server_of_ones_own_keeps_its_heartbeats(prefect_home):
    environment = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": str(prefect_home)}
    done = subprocess.run(
        [sys.executable, "-c", HEARTBEAT],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    assert int(done.stdout) > 0


def test_the_server_starts_where_other_packages_have_our_names(server, prefect_home, tmp_path):
    code = CODE.replace("{tasks}", "3")
    printed = run_among_strangers(
        tmp_path, code, PREFECT_HOME=str(prefect_home), PREFECT_API_URL=""
    )
    assert printed.split()[-1] == "6"
