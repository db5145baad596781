"""A run that is killed again and again ends with the bytes of an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.torture import with_kills


@with_kills(few=3, many=60)
def test_kills_at_random_moments_change_no_byte(tmp_path, num_kills):
    script = Path(__file__).parent / "kill_loop.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(num_kills)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == num_kills
    assert set(told["digests"]) == {told["undisturbed"]}
    assert any(step > 0 for step in told["resumed_from"]), "no run went on from a checkpoint"
