"""What the flow `extract` costs beside the plain `ask`, with a Prefect server that runs already.

Run from the repository root: `python tests/benchmarks/prefect_overhead.py [calls concurrency ms]`.

Calls are not Prefect tasks; a kind's questions together are one, and building from the replies is
another. So the difference does not grow with the calls: it is that of a flow of two empty tasks.
Measured on two idle cores: 0.07 s, 2.3 % of a job of 2.85 s; below 2 % from 3.5 s of asking on.
They are seven requests of Prefect's engine to its server, 4 to 16 ms each. `flows.server` saves a
second at the end (no heartbeats on its own server) and 0.05 s at the start (one client, made while
the server starts).
"""

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from artifacts.store import Store
from flows.server import prefect_server
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import register_classes
from knowledge.extraction import AskConfig, ask
from knowledge.kinds.cooccurrence import CooccurrenceConfig, build
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from tests.benchmarks.extraction import serve

REPEATS = 3


def plain(root, url, num_calls, limits):
    """Seconds of `ask` and `build`, without Prefect."""
    started = time.perf_counter()
    store = Store(root / "store")
    classes = register_classes(store, "kinetics400", class_list("kinetics400")).artifact
    config = CooccurrenceConfig(rounds=num_calls // 400)
    model = OpenAiChat(url, "m")
    with Ledger(root / "ledger.sqlite3") as ledger:
        asking = AskConfig.model_validate({"send": {"limits": limits}})
        calls = ask(store, classes, config, model, ledger, config=asking).artifact
    model.close()
    build(store, classes, calls, config)
    return time.perf_counter() - started


def through_prefect(root, url, num_calls, limits):
    """Seconds of the flow."""
    from flows.extract_knowledge import ExtractSpec, extract

    spec = ExtractSpec.model_validate(
        {
            "classes": "kinetics400",
            "kinds": ("cooccurrence",),
            "settings": {"cooccurrence": {"rounds": num_calls // 400}},
            "llm": {"base_url": url, "model": "m"},
            "asking": {"send": {"limits": limits}},
            "ledger": root / "ledger.sqlite3",
            "min_coverage": 0,
        }
    )
    store = str(root / "store")
    started = time.perf_counter()
    extract(store, spec)
    return time.perf_counter() - started


def empty_flow():
    """Seconds of a flow with two tasks that do nothing, as `extract` has them for a kind."""
    from prefect import flow, task

    @task
    def nothing():
        return None

    @flow
    def two_tasks():
        nothing()
        nothing()

    started = time.perf_counter()
    two_tasks()
    return time.perf_counter() - started


def main():
    """Print the table."""
    arguments = [int(each) for each in sys.argv[1:]]
    num_calls, concurrency, milliseconds = arguments or (2000, 64, 50)
    limits = {"concurrency": concurrency}
    spawn = multiprocessing.get_context("spawn")
    ports = spawn.Queue()
    server = spawn.Process(target=serve, args=(milliseconds / 1000, ports), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get()}/v1"
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".overhead-") as directory:
        root = Path(directory)
        os.environ["PREFECT_HOME"] = str(root / "prefect")
        with prefect_server():
            empty_flow()
            plain(root / "warm", url, 400, limits)
            without, within, fixed = [], [], []
            for number in range(REPEATS):
                fixed.append(empty_flow())
                without.append(plain(root / f"plain{number}", url, num_calls, limits))
                within.append(through_prefect(root / f"flow{number}", url, num_calls, limits))
    server.terminate()
    server.join()
    overhead = min(within) - min(without)
    print(f"{num_calls} calls, {concurrency} at a time, {milliseconds} ms each; best of {REPEATS}")
    print(f"ask and build       {min(without):8.2f} s")
    print(f"flow extract        {min(within):8.2f} s   {overhead / min(without):+.1%}")
    print(f"flow of two tasks   {min(fixed):8.2f} s   fixed")


if __name__ == "__main__":
    main()
