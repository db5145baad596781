"""What a command costs that finds everything done: the time of waiting for nothing.

Run from the repository root: `python tests/benchmarks/commands.py [CHECKOUT]`. Commands of this
checkout, and of another one beside it, in turn on the same store; each in a process of its own, as
a shell starts it. `server` is the same command with PREFECT_API_URL, of a server that runs already.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.prefect_server import PrefectServer

ROOT = Path(__file__).parents[2]
REPEATS = 3
CLIP = "--clip stickworld-clip --clip-weights bundled"
COMMANDS = {
    "--help": "--help",
    "wrong option": f"train --dataset stickworld --recipe mgmd --videos world {CLIP}",
    "extract": "extract --classes stickworld",
    "register": "register --dataset stickworld --videos world",
    "mine": f"mine --dataset stickworld --videos world {CLIP}",
    "pipeline": f"pipeline --dataset stickworld --videos world {CLIP} --set optim.epochs=2",
    "inspect list": "inspect list",
}
WORLD = "world world --set train_per_class=2 --set val_per_class=0 --set test_per_class=1"


def seconds(checkout, directory, command, url):
    """Of one command of a checkout."""
    given = {**os.environ, "PYTHONPATH": str(checkout), "PREFECT_HOME": str(directory / "prefect")}
    given |= {"PREFECT_API_URL": url}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *command.split()],
        cwd=directory,
        env={name: value for name, value in given.items() if value},
        capture_output=True,
        text=True,
    )
    taken = time.perf_counter() - started
    assert done.returncode == ("mgmd" in command), done.stderr
    return taken


def main():
    """Print the table."""
    checkouts = [ROOT, *(Path(each).resolve() for each in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as name, PrefectServer(Path(name) / "server") as server:
        directories = []
        for number, checkout in enumerate(checkouts):
            directory = Path(name) / str(number)
            directory.mkdir()
            for command in (WORLD, COMMANDS["pipeline"], COMMANDS["extract"]):
                seconds(checkout, directory, command, "")
            directories.append(directory)
        columns = [(each, at, "") for each, at in zip(checkouts, directories, strict=True)]
        columns.append((ROOT, directories[0], server.url))
        print(f"seconds, least of {REPEATS}{'':12}this{'   other' * (len(checkouts) - 1)}  server")
        for what, command in COMMANDS.items():
            taken = [[] for _ in columns]
            for _ in range(REPEATS):
                for found, (checkout, directory, url) in zip(taken, columns, strict=True):
                    found.append(seconds(checkout, directory, command, url))
            print(f"{what:28}" + "".join(f"{min(each):8.1f}" for each in taken), flush=True)


if __name__ == "__main__":
    main()
