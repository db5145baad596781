"""Kills a training run at random moments, for `test_resume_kills`; `python ... DIRECTORY`.

A process that has imported everything forks one trainer after the other and kills each with
SIGKILL; a run that was finished is compared by its bytes, and the next one begun. Prints what
happened as JSON.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import pyarrow as pa
import torch

from tests.training.runs import config_of
from tests.training.world import World
from training.config.runtime import RuntimeOptions
from training.loop.trainer import train
from training.models import weights as checkpoint

SETTINGS = [
    *("optim.epochs=3", "optim.batch_size=4", "optim.ema=0.9", "optim.max_norm=1.0"),
    *("eval.select=val", "model.video_blocks=1", "optim.micro_batch=3"),
]
RUNTIME = RuntimeOptions(device="cpu", checkpoint_every_steps=2)


def run_of(world):
    """Train to the end in this process, going on where another was killed."""
    return train(world.store, world.inputs(), config_of(*SETTINGS), "t", None, RUNTIME)


def digest(outcome):
    data = outcome.artifact.read_file(checkpoint.FILE)
    return hashlib.sha256(data + repr(outcome.artifact.read().to_pylist()).encode()).hexdigest()


def forked(world, seconds):
    """Whether a run in a process of its own was killed, after so many seconds."""
    child = os.fork()
    if not child:
        run_of(world)
        os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, status
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main():
    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    directory, num_kills, draws = Path(sys.argv[1]), int(sys.argv[2]), random.Random(0)
    world = World(directory, num_classes=4, dim=8, splits={"train": 3, "val": 1}, described=())
    run_of(world)  # the first one is slower
    shutil.rmtree(directory / "training_run")
    started = time.monotonic()
    undisturbed = digest(run_of(world))
    duration_s = time.monotonic() - started
    kills, resumed, digests = 0, [], []
    while kills < num_kills:
        shutil.rmtree(directory / "training_run")
        while kills < num_kills and forked(world, draws.uniform(0.05, 0.7) * duration_s):
            kills += 1
        outcome = run_of(world)
        resumed.append(outcome.artifact.manifest.report["resumed_from_step"])
        digests.append(digest(outcome))
    print(
        json.dumps(
            {
                "undisturbed": undisturbed,
                "kills": kills,
                "resumed_from": resumed,
                "digests": digests,
                "duration_s": duration_s,
            }
        )
    )


if __name__ == "__main__":
    main()
