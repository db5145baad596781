"""A run that is killed again and again ends with the bytes of an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_twenty_kills_at_random_moments_change_no_byte(tmp_path):
    script = Path(__file__).parent / "kill_loop.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == 20
    assert set(told["digests"]) == {told["undisturbed"]}
    assert any(step > 0 for step in told["resumed_from"]), "no run went on from a checkpoint"
