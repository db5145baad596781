"""Exact search equals a full sort in float64, whatever the blocks, the coarse type and the ties."""

import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.mining.nearest import BLOCK, CHUNK, top_k, top_k_of_blocks
from tests.knowledge.mining.literal import top_k_by_sorting

COARSE = ["float32", "bfloat16"]
HELD_BACK = """
import sys
import numpy as np
from knowledge.mining.nearest import fastest, top_k
given = np.load(sys.argv[1] + "/in.npz")
ids, products = top_k(given["queries"], given["corpus"], 20, device="cpu")
np.savez(sys.argv[1] + "/out.npz", ids=ids, products=products, dtype=str(fastest("cpu")))
"""
ATOL = 2e-9  # sums of another order may round to another ninth decimal


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def cut(corpus, cuts):
    edges = [0, *sorted(cuts), len(corpus)]
    return [(a, corpus[a:b]) for a, b in pairwise(edges)]


def assert_exact(found, queries, corpus, k):
    ids, products = found
    expected, exact = top_k_by_sorting(queries, corpus, k)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(products, exact, rtol=0, atol=ATOL)


@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("tied", [False, True])
def test_ids_equal_a_full_sort(tied, coarse):
    rng = np.random.default_rng(0)
    corpus = unit(rng.standard_normal((700, 32)))
    if tied:
        corpus = corpus[rng.integers(0, 40, 700)]
    queries = unit(rng.standard_normal((50, 32)))
    ids, cosines = top_k(queries, corpus, 20, coarse=coarse)
    full = (queries.astype(float) @ corpus.T.astype(float)).round(9)
    order = np.argsort(-full, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_allclose(cosines, np.take_along_axis(full, order, 1), rtol=0, atol=ATOL)
    assert_exact((ids, cosines), queries, corpus, 20)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 600),
    st.integers(1, 70),
    st.integers(2, 9),
    st.lists(st.integers(0, 600), max_size=6),
    st.sampled_from(COARSE),
)
def test_ids_equal_a_full_sort_on_small_grids(seed, size, k, dim, cuts, coarse):
    """Coordinates from {-1, 0, 1} make most products ties; blocks may be empty."""
    rng = np.random.default_rng(seed)
    corpus = rng.integers(-1, 2, (size, dim)).astype(np.float32)
    queries = rng.integers(-1, 2, (7, dim)).astype(np.float32)
    blocks = cut(corpus / np.float32(dim), [min(each, size) for each in cuts])
    ids, _ = top_k_of_blocks(queries / np.float32(dim), blocks, k, coarse=coarse)
    full = queries.astype(int) @ corpus.T.astype(int)
    np.testing.assert_array_equal(ids, np.argsort(-full, axis=1, kind="stable")[:, :k])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 900),
    st.integers(1, 300),
    st.floats(0, 30),
    st.booleans(),
    st.sampled_from(COARSE),
)
def test_ids_equal_a_full_sort_in_narrow_cones(seed, size, k, narrow, against, coarse):
    """Cosines near 1 or -1, where coarse products round most, with near and exact duplicates."""
    rng = np.random.default_rng(seed)
    axis = narrow * rng.standard_normal(24)
    rows = axis + rng.standard_normal((size, 24))
    rows[rng.random(size) < 0.3] = rows[0]
    queries = (-axis if against else axis) + rng.standard_normal((5, 24))
    queries = unit(np.concatenate([queries, rows[:3]]))
    assert_exact(top_k(queries, unit(rows), k, coarse=coarse), queries, unit(rows), k)


@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("spread", [3e-9, 3e-8, 3e-6])
def test_rows_that_no_coarse_product_tells_apart_are_ordered(spread, coarse):
    """The 12 best are spread less than the error of a product in float32, among 600 such rows."""
    rng = np.random.default_rng(5)
    axis = unit(rng.standard_normal((1, 512)))
    queries = unit(axis + 0.01 * rng.standard_normal((9, 512)))
    close = axis + (spread * rng.standard_normal((600, 512))).astype(np.float32)
    rows = np.concatenate([unit(rng.standard_normal((400, 512))), close])
    rows = rows[rng.permutation(len(rows))].astype(np.float32)
    expected, _ = top_k_by_sorting(queries, rows, 12)
    plain = np.argsort(-(queries @ rows.T), axis=1, kind="stable")[:, :12]
    assert (plain != expected).any()
    assert_exact(top_k(queries, rows, 12, coarse=coarse), queries, rows, 12)


def test_a_processor_held_back_takes_float32_and_finds_the_same(tmp_path):
    rng = np.random.default_rng(6)
    corpus, queries = unit(rng.standard_normal((900, 64))), unit(rng.standard_normal((200, 64)))
    np.savez(tmp_path / "in.npz", corpus=corpus, queries=queries)
    subprocess.run(
        [sys.executable, "-c", HELD_BACK, str(tmp_path)],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        check=True,
    )
    found = np.load(tmp_path / "out.npz")
    ids, products = top_k(queries, corpus, 20, coarse="bfloat16", device="cpu")
    assert found["dtype"] == "torch.float32"
    np.testing.assert_array_equal(found["ids"], ids)
    np.testing.assert_array_equal(found["products"], products)


@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_many_blocks_of_any_order(order, coarse):
    """More rows than a block and more queries than a chunk; the best rows come last or first."""
    rng = np.random.default_rng(2)
    corpus, queries = (
        unit(rng.standard_normal((BLOCK * 2 + 77, 8))),
        rng.standard_normal((CHUNK + 76, 8)),
    )
    if order != "random":
        queries[:, 0] += 9
        corpus = corpus[np.argsort(corpus[:, 0])[:: 1 if order == "rising" else -1]]
    queries = unit(queries)
    blocks = cut(corpus, [1, 5, BLOCK - 192, BLOCK - 191, BLOCK + 7])
    found = top_k_of_blocks(queries, iter(blocks), 9, coarse=coarse)
    sample = np.r_[0:40, CHUNK - 4 : CHUNK + 76]
    assert_exact([each[sample] for each in found], queries[sample], corpus, 9)


def test_nothing_depends_on_threads_or_batches():
    rng = np.random.default_rng(3)
    corpus, queries = unit(rng.standard_normal((3000, 64))), unit(rng.standard_normal((300, 64)))
    whole = top_k(queries, corpus, 12)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for size in (1, 17, 300):
                parts = [queries[i : i + size] for i in range(0, 300, size)][:40]
                found = [top_k(part, corpus, 12) for part in parts]
                for got, expected in zip(zip(*found, strict=True), whole, strict=True):
                    got = np.concatenate(got)
                    np.testing.assert_array_equal(got, expected[: len(got)])
    finally:
        torch.set_num_threads(before)


def test_ids_may_have_gaps():
    rows = np.eye(4, dtype=np.float32)
    ids, _ = top_k_of_blocks(rows, [(10, rows[:2]), (70, rows[2:])], 1)
    assert ids[:, 0].tolist() == [10, 11, 70, 71]


def test_cosines_stay_in_range():
    rows = unit(np.random.default_rng(1).standard_normal((30, 512)))
    _, cosines = top_k(rows, rows, 30)
    assert np.abs(cosines).max() <= 1.0


def test_longer_rows_are_clipped_before_they_are_ordered():
    rows = np.random.default_rng(1).standard_normal((300, 4)).astype(np.float32)
    for queries in (rows[:9], -rows[:9] / 3):
        for coarse in COARSE:
            assert_exact(top_k(queries, rows, 5, coarse=coarse), queries, rows, 5)


def test_no_queries():
    ids, cosines = top_k(np.ones((0, 4), np.float32), np.ones((3, 4), np.float32), 2)
    assert ids.shape == cosines.shape == (0, 2)


def test_wrong_input_is_one_clear_line():
    a, b = np.ones((2, 4), np.float32), np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match="4 and 5 dimensions"):
        top_k(a, b, 1)
    with pytest.raises(ValueError, match="k=0"):
        top_k(a, a, 0)
    with pytest.raises(ValueError, match="no texts"):
        top_k(a, a[:0], 1)
    with pytest.raises(ValueError, match="begins with id 1 after id 1;"):
        top_k_of_blocks(a, [(0, a), (1, a)], 1)
    a[1, 2] = np.nan
    with pytest.raises(ValueError, match="query 1 holds a value that is not finite"):
        top_k(a, b[:, :4], 1)
    with pytest.raises(ValueError, match="corpus row 8 holds a value that is not finite"):
        top_k_of_blocks(b[:, :4], [(7, a)], 1)
