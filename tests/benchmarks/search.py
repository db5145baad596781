"""Time and memory of exact search: ours against faiss.knn and numpy's matmul and argsort.

Run from the repository root: `python tests/benchmarks/search.py [--scale 0.02] [--k 10]`.
Each method runs in its own process, ours on generated blocks of the large corpus. The limit is the
time of the products alone, in float32 and in the coarse type of ours.

Measured on two idle cores (AMX, no GPU), k=10. 650,000 x 700: ours 5.1 to 6.0 s and 3.2 GiB (the
queries are 1.3), faiss.knn 2.6 s, numpy 7.2 s; the products alone 1.9 to 3.1 s in float32, 0.3 s in
bfloat16. 14,142 x 141,421: ours 3.8 to 4.5 s, faiss.knn 9.4 s, numpy 66 s. The full size, 100,000 x
1,000,000: ours 113 s and 1.3 GiB; the products alone 439 s in float32, 56 s in bfloat16. The first
is slower than FAISS because all of its time goes into what makes it exact.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

WIDTH = 512
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
    rounds = 30
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


def alone(function, *arguments):
    """The result of a call in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=0.02, help="of 100,000 x 1,000,000")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--only-ours", action="store_true")
    options = parser.parse_args()
    large = (round(10**5 * options.scale**0.5), round(10**6 * options.scale**0.5))
    methods = [ours] if options.only_ours else [ours, faiss_knn, numpy_argsort]
    for sizes in ((650_000, 700), large):
        print(f"{sizes[0]:,} x {sizes[1]:,}, D={WIDTH}, k={options.k}")
        first = None
        for method in methods:
            wall, cpu, peak, ids = alone(measured, method, *sizes, options.k)
            first = first or (wall, cpu, ids)
            same = (ids == first[2]).all(axis=1).mean()
            print(
                f"{method.__name__:16} {wall:8.1f} s  {cpu:8.1f} s CPU  {peak:6.0f} MiB  "
                f"{cpu / first[1]:6.1f} x CPU of ours  rows with our ids {same:.3f}",
                flush=True,
            )
        for coarse in ("float32", "bfloat16"):
            wall, cpu = alone(products, *sizes, coarse)
            print(f"{'limit ' + coarse:16} {wall:8.1f} s  {cpu:8.1f} s CPU")


if __name__ == "__main__":
    main()
