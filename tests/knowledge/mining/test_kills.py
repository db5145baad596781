"""Mining that is killed again and again ends as if nothing had happened.

The test starts this file as a process, which forks a child per life, so that a kill costs a fork.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from artifacts.jobs import make_all
from artifacts.store import Store
from knowledge.mining import nearest
from tests.knowledge.mining import world
from tests.knowledge.mining.world import rich_world, small
from tests.torture import with_kills

NUM_VIDEOS = 32


def job(root, made):
    return make_all(world.job(made, root, small(4, 8), max_rejected=2)).artifact


def parts(root):
    """Inode of each part that is complete, in the draft or published."""
    return {path.name: path.stat().st_ino for path in root.glob("**/part-*.parquet")}


def live(root, made, life_s):
    """Mine in a child; whether it was killed before it was done."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            job(root, made)
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + life_s
    while not (finished := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.001)
    status = os.waitstatus_to_exitcode(finished[1])
    assert status in {0, -signal.SIGKILL}, status
    return status != 0


def main(root, num_kills):
    """Kill until there were enough kills; every job ends in the end."""
    assert nearest  # loaded before the forks
    chances = random.Random(0)
    made = rich_world(root / "world", videos=NUM_VIDEOS)
    assert not live(root / "warm", made, 600)
    started = time.monotonic()
    assert not live(root / "undisturbed", made, 600)
    longest_s = time.monotonic() - started
    kills, number, redone = 0, 0, 0
    while kills < num_kills:
        before = {}
        while live(root / str(number), made, chances.uniform(0, longest_s)):
            kills += 1
            after = parts(root / str(number))
            redone += sum(after.get(name) != inode for name, inode in before.items())
            before = after
        number += 1
    print(json.dumps({"kills": kills, "jobs": number, "redone": redone}))


@with_kills(few=4, many=75)
def test_kills_change_no_byte_and_mine_no_part_twice(tmp_path, num_kills):
    done = subprocess.run(
        [sys.executable, "-m", "tests.knowledge.mining.test_kills", tmp_path, str(num_kills)],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        check=True,
    )
    result = json.loads(done.stdout)
    print(result)
    assert result["kills"] >= num_kills
    assert result["redone"] == 0
    undisturbed = Store(tmp_path / "undisturbed").get("negatives/toy")
    assert len(undisturbed.manifest.files) == NUM_VIDEOS // 4
    for number in range(result["jobs"]):
        store = Store(tmp_path / str(number))
        artifact = store.get("negatives/toy")
        artifact.verify()
        assert artifact.manifest.files == undisturbed.manifest.files
        assert artifact.manifest.report["candidates"] == undisturbed.manifest.report["candidates"]
        assert not list(store.drafts.iterdir())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
