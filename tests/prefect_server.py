"""A Prefect server of the user's own, as a process; and whether a schedule fires on it.

As a script (`python prefect_server.py DIRECTORY`) it checks that with whatever is installed.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

START_TIMEOUT_S = 300
"""The first start makes the database."""
PAGE = Path(__file__).parents[1] / "flows/README.md"
SCHEDULE = 'cron="0 3 * * *"'
"""When the page's flow is due."""


def served():
    """The page's Python that serves a flow, due every 15 s."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    [block] = [each for each in blocks if ".serve(" in each]
    assert SCHEDULE in block
    return block.replace(SCHEDULE, "interval=15")


class PrefectServer:
    """Context manager; the system chooses the port."""

    def __init__(self, home):
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self._command = [
            *(sys.executable, "-m", "uvicorn", "--factory", "--log-level", "error"),
            *("--port", str(port), "prefect.server.api.server:create_app"),
        ]

    def __enter__(self):
        home = {"PREFECT_HOME": str(self.home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self._process = subprocess.Popen(self._command, env=os.environ | home)
        end = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert self._process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """As a machine that goes down."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def ask(self, path, **asked):
        """What its API answers."""
        return httpx.post(f"{self.url}/{path}", json=asked, timeout=60).json()

    def last_state(self, flow):
        """State of the newest run of a flow."""
        asked = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
        return self.ask("flow_runs/filter", **asked)[0]["state"]


def check_a_schedule_fires(server, directory):
    """Serve the flow `extract` in a directory until a scheduled run of it has completed."""
    serving = subprocess.Popen(
        [sys.executable, "-c", served()],
        cwd=directory,
        env=os.environ | {"PREFECT_API_URL": server.url, "PREFECT_HOME": str(directory / "client")},
        stdout=subprocess.DEVNULL,
    )
    try:
        asked = {"flow_runs": {"deployment_id": {"is_null_": False}}}
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            runs = server.ask("flow_runs/filter", **asked, limit=200)
            states = {each["state_type"] for each in runs}
            if "COMPLETED" in states:
                return
            assert serving.poll() is None
            assert time.monotonic() < end, states
            time.sleep(0.5)
    finally:
        serving.terminate()
        serving.wait()


if __name__ == "__main__":
    where = Path(sys.argv[1]).absolute()
    with PrefectServer(where / "server") as running:
        check_a_schedule_fires(running, where)
    print("a schedule has fired")
