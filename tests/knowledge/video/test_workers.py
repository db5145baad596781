"""A video that ends the process which decodes it costs that video and no other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from knowledge.video.decoding import VideoError
from knowledge.video.workers import DIED, VideoWorkers
from tests.knowledge.deadly import own_pid, read
from tests.strangers import run_among_strangers


def outcomes(count, names, known=None, **given):
    with VideoWorkers(count, read, **given) as workers:
        waiting = [workers.start(Path(name), i, known=known) for i, name in enumerate(names)]
        found = []
        for each in waiting:
            try:
                found.append(int(workers.result(each)[0]))
            except VideoError as error:
                found.append(error.reason)
        later = workers.start(Path("good"), 99)
        assert workers.result(later).tolist() == [99, 99]
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_order_and_reasons_stay(workers):
    names = ["good"] * 6 + ["refuses"] + ["good"] * 3
    assert outcomes(workers, names) == [0, 1, 2, 3, 4, 5, "no good", 7, 8, 9]


def test_only_the_culprit_is_lost():
    names = ["good", "good", "kills", "good", "refuses", "good"]
    assert outcomes(2, names) == [0, 1, DIED, 3, "no good", 5]


def test_what_exceeds_the_deadline_is_lost_alone():
    late = "reading took longer than 2 s"
    found = outcomes(2, ["good", "hangs", "good", "good"], deadline_s=2)
    assert found == [0, late, 2, 3]
    assert outcomes(0, ["hangs"], known=late) == [late]


def test_a_known_culprit_is_not_tried_again():
    assert outcomes(0, ["kills"], known=DIED) == [DIED]


def test_processes_that_die_idle_are_replaced():
    with VideoWorkers(1, own_pid) as workers:
        first = int(workers.result(workers.start(Path("good")))[0])
        os.kill(first, signal.SIGKILL)
        while alive(first):
            time.sleep(0.02)
        waiting = [workers.start(Path("good")) for _ in range(3)]
        found = {int(workers.result(each)[0]) for each in waiting}
        time.sleep(0.5)  # now the pool has noticed that nobody is left
        os.kill(found.pop(), signal.SIGKILL)
        time.sleep(0.5)
        assert int(workers.result(workers.start(Path("good")))[0]) != first


def test_workers_end_with_the_process_that_started_them():
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "from tests.knowledge.deadly import own_pid\n"
        "from knowledge.video.workers import VideoWorkers\n"
        "with VideoWorkers(1, own_pid) as workers:\n"
        "    waiting = workers.start(Path('good'))\n"
        "    print(int(workers.result(waiting)[0]), flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).parents[3]
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


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    root = Path(__file__).parents[3]
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(root)!r})\n"
        "from pathlib import Path\n"
        "from tests.knowledge.deadly import own_pid, read\n"
        "from knowledge.video.workers import VideoWorkers\n"
        "with VideoWorkers(1, read) as workers:\n"
        "    print(workers.result(workers.start(Path('good'), 1)))\n"
    )
    ended = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith('below `if __name__ == "__main__":`')


FORKED = """
from pathlib import Path
from tests.knowledge.deadly import own_pid
from knowledge.video.workers import VideoWorkers
if __name__ == "__main__":
    with VideoWorkers(1, own_pid, preload={preload}) as workers:
        workers.result(workers.start(Path("good")))
    print("read")
"""


@pytest.mark.parametrize("preload", ["None", "'knowledge.video.decoding'"])
def test_workers_start_where_other_packages_have_our_names(tmp_path, preload):
    printed = run_among_strangers(tmp_path, FORKED.replace("{preload}", preload))
    assert printed == "read\n"
