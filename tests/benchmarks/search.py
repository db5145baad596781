"""Time and memory of exact search against faiss.knn, on this processor and held to AVX2.

Run from the repository root:
`python tests/benchmarks/search.py [--scale 0.02] [--k 10] [--rounds 3] [--numpy]`.

The two take turns, each in its own process, ours on generated blocks of the large corpus. A
processor without AVX-512 and AMX is imitated by holding back oneDNN, MKL, torch's own loops,
OpenBLAS (with which FAISS multiplies) and FAISS, each by a variable of its own (`AVX2`). The limit
is the time of the products alone in torch, in either type.

Measured on two cores with AMX, no GPU, while other work took more than both, so that the CPU
seconds count and not the time (ours over faiss.knn, k=10):

| | rounds | this processor | held to AVX2 |
|---|---|---|---|
| 650,000 x 700 | 2 | 11.0-12.2 / 8.9-9.9 = 1.24 | 13.0-14.4 / 12.5-12.8 = 1.08 |
| 1,414 x 14,142 | 2 | 0.5 / 0.4-0.5 = 1.17 | 0.5-0.6 / 0.5 = 1.06 |
| 14,142 x 141,421 | 1 | 9.7 / 30.3 = 0.32 | 32.0 / 43.9 = 0.73 |

CPU seconds count FAISS's threads while they wait for each other, ours never wait. One thread each,
16,384 to 32,768 queries on 700 texts: 1.6 to 1.8 times faiss.knn, and 1.4 to 1.5 held to AVX2;
2,048 to 16,384 queries on 32,768 texts: 0.6, and 1.05 to 1.16. So few texts are slower than with
FAISS: half of the time goes into choosing candidates and into their products in float64.
"""

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

WIDTH = 512
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "FAISS_OPT_LEVEL": "avx2",
}
"""Holds all that multiplies here to what a processor without AVX-512 and AMX has."""
KINDS: dict[str, dict[str, str]] = {"this processor": {}, "held to AVX2": AVX2}
PIECE = 20_000


def rows(seed: int, num: int) -> np.ndarray:
    """Unit rows; about a quarter of their variance is common to all, as with CLIP."""
    found = np.random.default_rng(seed).standard_normal((num, WIDTH), dtype=np.float32)
    found += 0.6 * np.random.default_rng(0).standard_normal(WIDTH, dtype=np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def pieces(num: int) -> Iterator[tuple[int, np.ndarray]]:
    """The corpus, a piece at a time."""
    for first in range(0, num, PIECE):
        yield first, rows(1 + first, min(PIECE, num - first))


def corpus(num: int) -> np.ndarray:
    """The same in one array."""
    out = np.empty((num, WIDTH), np.float32)
    for first, piece in pieces(num):
        out[first : first + len(piece)] = piece
    return out


def ours(num_queries: int, num_corpus: int, k: int) -> tuple[float, float, np.ndarray]:
    """Exact, from blocks; the time to generate them is taken off."""
    from knowledge.mining.nearest import top_k_of_blocks

    queries, spent = rows(-1 % 2**32, num_queries), [0.0, 0.0]

    def timed() -> Iterator[tuple[int, np.ndarray]]:
        source = pieces(num_corpus)
        while True:
            start = clocks()
            piece = next(source, None)
            spent[:] = [old + new for old, new in zip(spent, since(start), strict=True)]
            if piece is None:
                return
            yield piece

    start = clocks()
    ids, _ = top_k_of_blocks(queries, timed(), k)
    wall, cpu = since(start)
    return wall - spent[0], cpu - spent[1], ids


def faiss_knn(num_queries: int, num_corpus: int, k: int) -> tuple[float, float, np.ndarray]:
    """float32, ties in any order."""
    import faiss

    queries, texts = rows(-1 % 2**32, num_queries), corpus(num_corpus)
    start = clocks()
    _, ids = faiss.knn(queries, texts, k, metric=faiss.METRIC_INNER_PRODUCT)
    return *since(start), ids


def numpy_argsort(num_queries: int, num_corpus: int, k: int) -> tuple[float, float, np.ndarray]:
    """The naive way, some queries at a time; of many, 2000 stand for all."""
    queries, texts = rows(-1 % 2**32, num_queries), corpus(num_corpus)
    shown = queries[: max(2000, 10**8 // num_corpus)]
    start = clocks()
    ids = [np.argsort(-(some @ texts.T))[:, :k] for some in np.array_split(shown, 20)]
    share = len(shown) / num_queries
    wall, cpu = since(start)
    return wall / share, cpu / share, np.concatenate(ids)


def products(num_queries: int, num_corpus: int, coarse: str) -> tuple[float, float]:
    """Wall and CPU seconds of the products alone."""
    import torch

    a, b = (torch.randn(n, WIDTH, dtype=getattr(torch, coarse)) for n in (1024, 8192))
    torch.mm(a, b.T)
    rounds = 5
    start = clocks()
    for _ in range(rounds):
        torch.mm(a, b.T)
    share = rounds * 1024 * 8192 / num_queries / num_corpus
    wall, cpu = since(start)
    return wall / share, cpu / share


def clocks() -> tuple[float, float]:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> tuple[float, float]:
    """Wall and CPU seconds since `start`."""
    wall, cpu = clocks()
    return wall - start[0], cpu - start[1]


def measured(method, *sizes: int) -> tuple[float, float, float, np.ndarray]:
    """Wall and CPU seconds, peak MiB of the process, and ids."""
    wall, cpu, ids = method(*sizes)
    return wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, ids[:1000]


def alone(kind: str, function, *arguments):
    """The result of a call in a fresh process on a kind of processor."""
    os.environ.update(KINDS[kind])
    try:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(function, arguments)
    finally:
        for name in KINDS[kind]:
            del os.environ[name]


def compare(kind: str, rounds: int, *sizes: int) -> None:
    """Print ours and faiss.knn in turns, and the middle of their ratios."""
    ratios = []
    for _ in range(rounds):
        found = [alone(kind, measured, method, *sizes) for method in (ours, faiss_knn)]
        for name, (wall, cpu, peak, _) in zip(("ours", "faiss.knn"), found, strict=True):
            print(f"  {name:9} {wall:6.1f} s {cpu:6.1f} s CPU {peak:6.0f} MiB", flush=True)
        (wall, cpu, _, ids), (faiss_wall, faiss_cpu, _, faiss_ids) = found
        ratios.append((wall / faiss_wall, cpu / faiss_cpu))
        same = (ids == faiss_ids).all(axis=1).mean()
    wall, cpu = (statistics.median(each) for each in zip(*ratios, strict=True))
    print(f"  ours over faiss.knn: {wall:.2f} of the time, {cpu:.2f} of the CPU time")
    print(f"  rows with the same ids: {same:.3f}", flush=True)
    for coarse in ("float32", "bfloat16"):
        wall, cpu = alone(kind, products, *sizes[:2], coarse)
        print(f"  limit {coarse:9} {wall:6.1f} s {cpu:6.1f} s CPU", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=0.02, help="of 100,000 x 1,000,000")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--numpy", action="store_true", help="the naive way too")
    options = parser.parse_args()
    large = (round(10**5 * options.scale**0.5), round(10**6 * options.scale**0.5))
    for sizes in ((650_000, 700), large):
        for kind in KINDS:
            print(f"{sizes[0]:,} x {sizes[1]:,}, D={WIDTH}, k={options.k}, {kind}")
            compare(kind, options.rounds, *sizes, options.k)
        if options.numpy:
            wall, cpu, *_ = alone("this processor", measured, numpy_argsort, *sizes, options.k)
            print(f"  numpy {wall:6.1f} s {cpu:6.1f} s CPU", flush=True)


if __name__ == "__main__":
    main()
