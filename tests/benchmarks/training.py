"""An epoch on cached clips: clips per second, and the share of time spent waiting for data.

Run from the repository root: `python tests/benchmarks/training.py [N [steps]]`.

Publishes N videos (T=16, D=512) as real artifacts, fetches all of them once in the order of an
epoch, and takes some training steps of MGDM (2 blocks, k=3) at a batch of 256, as the loop does:
plain, and in parts of 64 clips. CPU seconds, which other processes do not stretch.

Measured with 100,000 clips and one thread on an otherwise idle 2-core machine without GPU: fetch
and join 0.019 ms, a step 10.1 ms per clip (99 clips/s), in parts 1.04 times as long; an epoch waits
for data 0.2 % of its time.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from tests.training.runs import start
from tests.training.world import World
from training.config.overrides import override
from training.data.batch import make_batch
from training.data.order import EpochSeed, chunks
from training.loop.epochs import train_step
from training.models.registry import recipe

BATCH, CLASSES = 256, 100


def seconds(work) -> float:
    """CPU seconds of a call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    count, steps = (int(each) for each in [*sys.argv[1:], *("10000", "6")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as directory:
        splits = {"train": count // CLASSES, "test": 1}
        world = World(directory, CLASSES, dim=512, num_frames=16, splits=splits, described=())
        inputs = world.inputs()
        settings = ["data.num_frames=16", f"optim.batch_size={BATCH}", "eval.every=0"]
        config = override(recipe("mgdm_small").config, settings)
        run = start(inputs, config)
        parts = start(inputs, override(config, ["optim.micro_batch=64"]))
        order = np.concatenate(run.order.batches(1))
        draw, batches = EpochSeed(0, 1), []

        def fetch() -> None:
            for index_B, clips in run.source.stream(run.data.videos, chunks(order, BATCH), draw):
                batch = make_batch(run.data.videos, index_B, clips, run.data.joined, draw)
                batches.append(batch)
                del batches[:-2]

        data_s = seconds(fetch) / len(order)
        batch = batches[0]
        plain_s, parts_s = (
            seconds(lambda each=each: [train_step(each, batch) for _ in range(steps)])
            / (steps * BATCH)
            for each in (run, parts)
        )
    print(f"{len(order)} clips, T=16, D=512, batch {BATCH}, one thread, CPU seconds")
    print(f"fetch and join {1e3 * data_s:8.3f} ms per clip")
    print(f"step           {1e3 * plain_s:8.3f} ms per clip: {1 / (plain_s + data_s):.0f} clips/s")
    print(f"step in parts  {1e3 * parts_s:8.3f} ms per clip: {parts_s / plain_s:.2f} times as long")
    print(f"waiting for data: {100 * data_s / (plain_s + data_s):.1f} % of an epoch")


if __name__ == "__main__":
    main()
