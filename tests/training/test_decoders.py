"""A video that ends the process which decodes it costs that video and no other."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from knowledge.video import VideoError
from tests.training.deadly import read
from training.decoders import DIED, Decoders


def outcomes(workers, names, known=None):
    with Decoders(workers, read) as decoders:
        waiting = [decoders.start(Path(name), known, i) for i, name in enumerate(names)]
        found = []
        for each in waiting:
            try:
                found.append(int(decoders.result(each)[0]))
            except VideoError as error:
                found.append(error.reason)
        later = decoders.start(Path("good"), None, 99)
        assert decoders.result(later).tolist() == [99, 99]
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_and_reasons_stay(workers):
    names = ["good"] * 6 + ["refuses"] + ["good"] * 3
    assert outcomes(workers, names) == [0, 1, 2, 3, 4, 5, "no good", 7, 8, 9]


def test_only_the_culprit_is_lost():
    names = ["good", "good", "kills", "good", "refuses", "good"]
    assert outcomes(2, names) == [0, 1, DIED, 3, "no good", 5]


def test_a_known_culprit_is_not_tried_again():
    assert outcomes(0, ["kills"], known=DIED) == [DIED]


def test_workers_end_with_the_process_that_started_them():
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from tests.training.deadly import own_pid\n"
        "from training.decoders import Decoders\n"
        "with Decoders(1, own_pid) as decoders:\n"
        "    waiting = decoders.start(Path('good'), None)\n"
        "    print(int(decoders.result(waiting)[0]), flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as parent:
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.kill()
    deadline = time.monotonic() + 60
    while alive(worker):
        assert time.monotonic() < deadline, f"process {worker} still lives"
        time.sleep(0.1)


def alive(pid):
    """Whether a process runs; one that ended and was not asked for its status does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
