"""Fetching batches of frame embeddings: from RAM, mapped, and row by row from Parquet.

Run from the repository root: `python tests/benchmarks/frame_cache.py [videos]`.

Publishes videos (T=16, D=512, float16) as a real artifact and fetches them in random order, 256 at
a time, to float32. CPU seconds, which other processes do not stretch; the pages are in the page
cache. The limit is copying as many random rows of one float16 array in RAM.

Measured on a 2-core machine (no GPU) with 20,000 videos, in videos per CPU second: in RAM 59,700,
mapped 61,600, limit 160,600, Parquet 1,740; so mapping costs nothing, and 35 times less than
Parquet. Building the arrays took 1.8 CPU seconds, verifying and opening them 0.27, for 0.33 GB.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.world import World
from training.data.frame_cache import frame_arrays
from training.data.sources import CachedClips

BATCH = 256


def main() -> None:
    """Print the table."""
    count = int((sys.argv[1:] or ["20000"])[0])
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        world = World(
            directory, num_classes=10, dim=512, num_frames=16, splits={"train": count // 10}
        )
        frames = world.frames
        for what in ("building the arrays", "verifying and opening them"):
            before = time.process_time()
            frame_arrays(frames, 0)
            print(f"{what:28} {time.process_time() - before:6.2f} s CPU")
        ids = np.random.default_rng(0).permutation(list(world.labels)).tolist()
        batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
        sources = {"in RAM": CachedClips(frames), "mapped": CachedClips(frames, 0)}
        rows = torch.randperm(count)
        array = frame_arrays(frames).units_NTD
        found = {"limit: rows of one array": rate(lambda at: array[rows[at : at + BATCH]], batches)}
        for name, source in sources.items():
            found[name] = rate(
                lambda at, source=source: source.fetch(batches[at // BATCH]), batches
            )
        path = next(Path(world.store.directory(frames.ref)).glob("*.parquet"))
        found["naive: Parquet, row by row"] = rate(
            lambda at: pq.ParquetFile(path).read_row_group(0).slice(at, BATCH), batches[:2]
        )
        for name, each in found.items():
            print(f"{name:28} {each:10,.0f} videos per CPU second")


def rate(fetch, batches) -> float:
    """Videos per CPU second."""
    before = time.process_time()
    for i in range(len(batches)):
        fetch(i * BATCH)
    return sum(map(len, batches)) / (time.process_time() - before)


if __name__ == "__main__":
    main()
