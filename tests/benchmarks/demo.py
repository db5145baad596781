"""How long the demo takes, and each of its parts, on a quiet machine and on a busy one.

Run from the repository root: `python tests/benchmarks/demo.py [--busy N] [CHECKOUT ...]`. Runs
`actionlore demo` of this checkout, then of the others, each into a directory of its own; beside N
processes that only count, if asked for. The parts are read off the artifacts, which say when they
were made.

On two quiet cores, one run: 278 s with 1,152 videos, of which rendering 71, embedding 67, both
trainings 130. Half as many training videos and no validation videos (648 in all) give the same
accuracies within the standard error: 158 s, with other work on both cores.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = {
    "render": "classes",
    "register": "videos",
    "extract": "descriptions",
    "embed": "frame_embeddings",
    "mine": "negatives",
    "train": "metrics",
}
"""Part -> kind of the last artifact that it makes."""


def demo(checkout, directory):
    """Seconds of a demo and of its parts."""
    env = os.environ | {"PYTHONPATH": str(checkout)}
    env.pop("PREFECT_API_URL", None)
    began, started = time.time(), time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "demo", "--directory", str(directory)]
    done = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True)
    taken = {"in all": time.perf_counter() - started}
    assert done.returncode == 0, done.stderr
    for part, kind in PARTS.items():
        ended = max(made_at(each) for each in directory.glob(f"artifacts/{kind}/**/manifest.json"))
        taken[part], began = ended - began, ended
    return taken, len(done.stdout.splitlines())


def made_at(manifest):
    """When an artifact was made, in seconds since 1970."""
    return datetime.datetime.fromisoformat(json.loads(manifest.read_text())["created"]).timestamp()


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, default=0, help="processes that keep a core busy")
    parser.add_argument("checkouts", nargs="*", type=Path, help="other checkouts to compare with")
    given = parser.parse_args()
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(given.busy)
    ]
    titles = ["in all", *PARTS]
    print(f"seconds beside {given.busy} busy processes on {os.cpu_count()} cores")
    print(f"{'':30}" + "".join(f"{each:>10}" for each in (*titles, "lines")), flush=True)
    try:
        for checkout in (ROOT, *(each.resolve() for each in given.checkouts)):
            with tempfile.TemporaryDirectory() as directory:
                taken, lines = demo(checkout, Path(directory))
            row = "".join(f"{taken[each]:10.1f}" for each in titles)
            print(f"{str(checkout)[-30:]:30}{row}{lines:10}", flush=True)
    finally:
        for each in loops:
            each.kill()
            each.wait()


if __name__ == "__main__":
    main()
