"""One Prefect server per command, owned by it: started before the flow, drained and stopped after.

Nothing has to be set up. Where PREFECT_API_URL names a server, that one is used and nothing is
started. Prefect's own temporary server is not used because it loses task-run records at exit and is
orphaned when the command is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from artifacts.processes import import_environment

START_TIMEOUT_S = 90.0
"""The very first start migrates the database, which takes up to half a minute."""

STOP_TIMEOUT_S = 10.0

_CLIENT_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command itself says what happened
}
_IDLE_SERVICES = (
    "CANCELLATION_CLEANUP",
    "EVENT_PERSISTER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
    "SCHEDULER",
    "TRIGGERS",
)
"""For schedules, workers and automations, of which a server that lives for one command has none;
and for a record of events beside those of runs and logs. They cost a third of its CPU time."""
_SERVER_SETTINGS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _IDLE_SERVICES},
}


@contextmanager
def prefect_server() -> Iterator[None]:
    """A server for the flows run inside; must be entered before Prefect is imported.

    Raises:
        RuntimeError: the server does not answer in time.
    """
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "flows.orchestration.server", str(port)]
    before = signal.signal(signal.SIGTERM, _leave)
    process = subprocess.Popen(
        command,
        env={**os.environ, **import_environment(), **_SERVER_SETTINGS},
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the command, which then stops the server
    )
    try:
        os.environ["PREFECT_API_URL"] = url
        with _client(lambda: _wait(process, url)):
            yield
    finally:
        try:
            _drain(url)
        finally:
            os.environ.pop("PREFECT_API_URL", None)
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _client(wait: Callable[[], None]) -> Iterator[None]:
    """One client for all flows inside; Prefect is imported while the server starts.

    They have no heartbeats, for which each would wait a second at its end: those tell a server that
    outlives a flow whether the flow is alive, and ours dies with it. No value in the environment
    turns them off.
    """
    import prefect.main  # noqa: F401  all of it, while the server starts
    from prefect.context import SyncClientContext
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        client = SyncClientContext()
        wait()
        with client:
            yield


def _leave(number: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack, so that the server is stopped too."""
    raise SystemExit(128 + number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    state = "took too long" if process.poll() is None else f"exited with {process.poll()}"
    raise RuntimeError(
        f"the embedded Prefect server {state}; its messages are above. "
        "Set PREFECT_API_URL to use a server of your own"
    )


def _drain(url: str) -> None:
    """Hand over the records of task runs that still wait in this process, until all are written."""
    if "prefect.events.worker" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=STOP_TIMEOUT_S)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    before, now = None, _num_ended(url)
    while now != before and time.monotonic() < deadline:
        time.sleep(1.5)  # the server's recorder writes once a second
        before, now = now, _num_ended(url)


def _num_ended(url: str) -> int | None:
    """Task runs whose end the server has written; None if it does not answer."""
    ended = {"task_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    request = urllib.request.Request(
        f"{url}/task_runs/count",
        data=json.dumps(ended).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=STOP_TIMEOUT_S) as reply:
            return int(reply.read())
    except (OSError, ValueError):
        return None


def _serve(port: int) -> None:
    """The server process: ends with its parent, whatever ends that."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
    import uvicorn

    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
    )


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
