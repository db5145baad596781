"""Flows with a Prefect server that watches, with one that goes away, and without any."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifacts.store import Store
from tests.flows.command_line import ASKED, described
from tests.llm_server import LlmServer
from tests.prefect_server import PrefectServer, check_a_schedule_fires
from tests.strangers import run_among_strangers

ROOT = Path(__file__).parents[3]
KEY = "sk-grep-me-5kd83hd7Xq2"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with PrefectServer(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def command(tmp_path):
    """Start a command in a process of its own, in an empty directory."""

    def start(*arguments, url, **environment):
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "client")}
            | {"PREFECT_API_URL": url}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process):
    """Exit status and output."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


DECLARED = """
import importlib, pkgutil, flows
from prefect import Flow
modules = [importlib.import_module(m.name) for m in pkgutil.walk_packages(flows.__path__, "flows.")]
found = {each for module in modules for each in vars(module).values() if isinstance(each, Flow)}
assert all(flow.persist_result is False and flow.result_storage for flow in found)
print(sorted(flow.name for flow in found))
"""


def test_every_flow_is_declared_without_results(tmp_path):
    printed = run_among_strangers(
        tmp_path, DECLARED, PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_HOME=str(tmp_path)
    )
    assert len(json.loads(printed.replace("'", '"'))) == 13


def test_without_a_server_nothing_of_prefect_is_there(tmp_path):
    code = """
import sys
sys.argv = ["actionlore", "extract", "--classes", "ava", "--kind", "cooccurrence"]
from flows.cli import app
try:
    app()
finally:
    print([name for name in sys.modules if name.split(".")[0] == "prefect"])
"""
    printed = run_among_strangers(tmp_path, code, PREFECT_API_URL="")
    assert printed.splitlines()[-1] == "[]"
    assert "made  cooccurrence/ava@" in printed


IN_ONES_OWN_FLOW = """
import os, prefect
from pathlib import Path
from flows.extract_knowledge import extract
from flows.orchestration.specs.extract import ExtractSpec
made = extract("store", ExtractSpec(classes="ava", kinds=("cooccurrence",)))
print([each.kind for each in made], isinstance(extract, prefect.Flow))
"""


def test_a_flow_is_a_plain_call_where_prefect_knows_no_server(tmp_path):
    printed = run_among_strangers(
        tmp_path, IN_ONES_OWN_FLOW, PREFECT_API_URL="", PREFECT_HOME=str(tmp_path)
    )
    assert printed.strip() == "['llm_calls', 'cooccurrence'] True"


def test_a_server_records_runs_and_how_they_ended(server, command):
    """Completed, cancelled where the same command goes on, failed; and never the API key."""
    with LlmServer(described) as endpoint:
        endpoint.usage = lambda body, text: (1000, 500)
        asked = (*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m", "--llm-concurrency", 1)
        given = {"url": server.url, "OPENAI_API_KEY": KEY}
        status, _, err = ended(command(*asked, "--llm-max-tokens", 3000, **given))
        assert status == 75, err
        state = server.last_state("extract")
        assert state["type"] == "CANCELLED", state
        assert "the cap of 3000 tokens" in state["message"]
        status, out, err = ended(command(*asked, **given))
        assert status == 0, err
        assert "made  descriptions/stickworld@" in out
        assert server.last_state("extract")["type"] == "COMPLETED"
        endpoint.error_message = f"Incorrect API key provided: {KEY}."
        endpoint.behave = lambda number, body: "status"
        endpoint.status = 401
        status, out, err = ended(
            command(*asked, "--set", "description.sampling.temperature=0.1", **given)
        )
        assert status == 1
        assert "check the API key" in err
        assert server.last_state("extract")["type"] == "FAILED"
    for _ in range(100):
        tasks = {each["name"].rsplit("-", 1)[0] for each in server.ask("task_runs/filter")}
        logs = server.ask("logs/filter", logs={"level": {"ge_": 40}})
        if {"ask_task", "build_task"} <= tasks and any("Incorrect" in e["message"] for e in logs):
            break
        time.sleep(0.25)
    else:
        pytest.fail(f"recorded only {tasks}, {logs}")
    files = [path for path in server.home.rglob("*") if path.is_file()]
    assert "prefect.db" in {path.name for path in files}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


NESTED = """
from flows.orchestration.flow import flow, task
from knowledge.llm.messages import Stopped

@task
def double(n): return 2 * n

@flow("inner")
def inner(n, halts=False):
    if halts: raise Stopped("waits for a shard")
    return double(n)

@flow("outer")
def outer(halts=False): return inner(3) + inner(4, halts)

print(outer())
try:
    outer(halts=True)
except Stopped as error:
    print(error)
"""


def test_a_flow_inside_another_is_a_task_of_it(server, tmp_path):
    printed = run_among_strangers(
        tmp_path, NESTED, PREFECT_API_URL=server.url, PREFECT_HOME=str(tmp_path)
    )
    assert printed.splitlines() == ["14", "waits for a shard"]
    assert "inner" not in {each["name"] for each in server.ask("flows/filter")}
    runs = server.ask("flow_runs/filter", flows={"name": {"any_": ["outer"]}})
    assert {each["state_type"] for each in runs} == {"COMPLETED", "CANCELLED"}
    ids = [each["id"] for each in runs if each["state_type"] == "COMPLETED"]
    of_run = {"flow_runs": {"id": {"any_": ids}}}
    until = time.monotonic() + 60
    while True:
        tasks = [each["name"].split("-")[0] for each in server.ask("task_runs/filter", **of_run)]
        if sorted(tasks) == ["double", "double", "inner", "inner"]:
            break
        assert time.monotonic() < until, tasks
        time.sleep(0.25)


@pytest.mark.torture
def test_a_schedule_fires(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    check_a_schedule_fires(server, tmp_path)
    assert Store(tmp_path / "store").get("cooccurrence/ava").manifest.num_rows > 0


def test_a_server_that_never_answered_is_an_error_of_one_line(command):
    status, _, err = ended(command(*ASKED, url="http://127.0.0.1:9/api"))
    assert status == 1
    [line] = err.splitlines()
    assert "http://127.0.0.1:9/api" in line


@pytest.mark.torture
def test_a_server_that_goes_away_costs_its_record_only(server, command):
    """The last one that uses it."""
    with LlmServer(described) as endpoint:
        going = command(*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m", url=server.url)
        while not endpoint.num_requests:
            assert going.poll() is None, going.communicate()
            time.sleep(0.01)
        server.kill()
        status, out, err = ended(going)
    assert status == 0, err
    assert "made  descriptions/stickworld@" in out
    [line] = [line for line in out.splitlines() if server.url in line]
    assert "does not know that the flow extract is done" in line
    assert not err
