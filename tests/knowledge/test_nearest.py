"""Exact search equals a full sort, also among ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.nearest import top_k, top_k_by_sorting


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("tied", [False, True])
def test_ids_equal_a_full_sort(tied):
    rng = np.random.default_rng(0)
    corpus = unit(rng.standard_normal((700, 32)))
    if tied:
        corpus = corpus[rng.integers(0, 40, 700)]
    queries = unit(rng.standard_normal((50, 32)))
    ids, cosines = top_k(queries, corpus, 20)
    expected, exact = top_k_by_sorting(queries, corpus, 20)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(cosines, exact)
    full = (queries.astype(float) @ corpus.T.astype(float)).round(9)
    np.testing.assert_array_equal(ids, np.argsort(-full, axis=1, kind="stable")[:, :20])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 70), st.integers(2, 9))
def test_ids_equal_a_full_sort_on_small_grids(seed, size, k, dim):
    """Coordinates from {-1, 0, 1} make most products ties."""
    rng = np.random.default_rng(seed)
    corpus = rng.integers(-1, 2, (size, dim)).astype(np.float32)
    queries = rng.integers(-1, 2, (7, dim)).astype(np.float32)
    ids, _ = top_k(queries / np.float32(dim), corpus / np.float32(dim), k)
    full = (queries.astype(int) @ corpus.T.astype(int))[:, :size]
    np.testing.assert_array_equal(ids, np.argsort(-full, axis=1, kind="stable")[:, :k])


def test_cosines_stay_in_range():
    rows = unit(np.random.default_rng(1).standard_normal((30, 512)))
    _, cosines = top_k(rows, rows, 1)
    assert cosines.max() <= 1.0


def test_wrong_input_is_one_clear_line():
    a, b = np.ones((2, 4), np.float32), np.ones((2, 5), np.float32)
    with pytest.raises(ValueError, match="4 and 5 dimensions"):
        top_k(a, b, 1)
    with pytest.raises(ValueError, match="k=0"):
        top_k(a, a, 0)
    with pytest.raises(ValueError, match="no texts"):
        top_k(a, a[:0], 1)
