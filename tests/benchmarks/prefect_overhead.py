"""What Prefect adds to the flow `extract`, with a Prefect server that runs already.

Run from the repository root: `python tests/benchmarks/prefect_overhead.py [calls concurrency ms]`.

Prefect's share is the time of the flow without that of the functions in its tasks. Calls are not
tasks: a kind's questions together are one, and building from the replies is another. So the share
is the same for any number of calls. The same job without Prefect, `ask` and `build`, and the whole
flow are printed too; their difference says less, since each varies by more than Prefect's share.

Measured on two cores, three runs: 0.06 to 0.07 s, a median of 2.2 to 2.6 % of a job of 3.0 s (least
2.0 %); below 2 % from 3.5 s of asking on. Three quarters are five requests of Prefect's engine to
its server, 5 to 17 ms each. `flows.orchestration.flow` saves two further ones, and
`flows.orchestration.server` a third of the server's work (no services for schedules), a second at
the end (no heartbeats) and 0.05 s at the start (one client, made while the server starts).
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[2]))

from artifacts.store import Store
from flows.orchestration.server import prefect_server
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import AskingOptions, ask
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig, build
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from tests.benchmarks.extraction import serve

REPEATS = 9


def plain(root, url, num_calls, limits):
    """Seconds of `ask` and `build`, without Prefect."""
    started = time.perf_counter()
    store = Store(root / "store")
    classes = register_classes(store, "kinetics400", class_list("kinetics400")).artifact
    config = CooccurrenceConfig(rounds=num_calls // 400)
    model = OpenAiChat(url, "m")
    with Ledger(root / "ledger.sqlite3") as ledger:
        asking = AskingOptions.model_validate({"send": {"limits": limits}})
        calls = ask(store, classes, config, model, ledger, config=asking).artifact
    model.close()
    build(store, classes, calls, config)
    return time.perf_counter() - started


def through_prefect(root, url, num_calls, limits):
    """Seconds of the flow, and of that in the functions of its tasks."""
    from flows import extract_knowledge
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
    inside = []

    def timed(function):
        @wraps(function)
        def run(*args):
            started = time.perf_counter()
            try:
                return function(*args)
            finally:
                inside.append(time.perf_counter() - started)

        return run

    store = str(root / "store")
    with ExitStack() as stack:
        for task in (extract_knowledge.ask_task, extract_knowledge.build_task):
            stack.enter_context(patch.object(task, "fn", timed(task.fn)))
        started = time.perf_counter()
        extract(store, spec)
        seconds = time.perf_counter() - started
    assert len(inside) == 2
    return seconds, sum(inside)


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
            plain(root / "warm", url, 400, limits)
            through_prefect(root / "warm-flow", url, 400, limits)
            without, within, added = [], [], []
            for number in range(REPEATS):
                without.append(plain(root / f"plain{number}", url, num_calls, limits))
                flow, tasks = through_prefect(root / f"flow{number}", url, num_calls, limits)
                within.append(flow)
                added.append((flow - tasks) / tasks)
    server.terminate()
    server.join()
    print(f"{num_calls} calls, {concurrency} at a time, {milliseconds} ms each; {REPEATS} runs")
    print("                  least  median    most")
    for name, seconds in (("ask and build", without), ("flow extract", within)):
        print(f"{name:15}" + "".join(f"{value:8.2f}" for value in summary(seconds)) + " s")
    print(f"{'Prefect adds':15}" + "".join(f"{value:8.2%}" for value in summary(added)))


def summary(values):
    """The least, the median and the most."""
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    main()
