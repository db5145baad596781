"""Inverted lists: recall is what it says, the same seed gives the same lists, ties by id."""

import faiss
import numpy as np
import pytest
from pydantic import ValidationError

from knowledge.mining.inverted_lists import InvertedLists, IvfConfig
from knowledge.mining.nearest import top_k


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((3000, 32))), unit(rng.standard_normal((200, 32)))


def test_probing_every_list_is_exact_also_among_ties(rows):
    corpus, queries = rows
    corpus = np.concatenate([corpus[:1000]] * 2)
    lists = InvertedLists(corpus, IvfConfig(num_lists=20, num_probes=20))
    ids, products = lists.top_k(queries, 10)
    expected, exact = top_k(queries, corpus, 10)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(products, exact, rtol=0, atol=2e-9)
    assert lists.recall(queries, 10).recall == 1


def test_recall_is_the_share_of_exact_neighbours(rows):
    corpus, queries = rows
    lists = InvertedLists(corpus, IvfConfig(num_lists=50, num_probes=5))
    measured = lists.recall(queries, 10)
    exact, found = top_k(queries, corpus, 10)[0], lists.top_k(queries, 10)[0]
    share = np.mean([[i in row for i in each] for each, row in zip(exact, found, strict=True)])
    assert measured.recall == pytest.approx(share)
    assert 0.2 < measured.recall < 0.9
    assert (measured.k, measured.num_measured) == (10, 200)
    few = InvertedLists(corpus, IvfConfig(num_lists=50, num_probes=5, num_measured=20))
    assert few.recall(queries, 10).num_measured == 20


def test_lists_depend_on_the_seed_and_not_on_threads(rows):
    corpus, queries = rows
    before = faiss.omp_get_max_threads()

    def ids(threads, seed):
        faiss.omp_set_num_threads(threads)
        config = IvfConfig(num_lists=50, num_probes=5, seed=seed)
        return InvertedLists(corpus, config).top_k(queries, 10)[0].tolist()

    try:
        assert ids(1, 3) == ids(2, 3)
        assert ids(1, 3) != ids(1, 4)
    finally:
        faiss.omp_set_num_threads(before)


def test_a_query_finds_the_same_whatever_is_beside_it(rows):
    corpus, queries = rows
    lists = InvertedLists(corpus, IvfConfig(num_lists=50, num_probes=5))
    together = lists.top_k(queries, 10)
    alone = [lists.top_k(queries[i : i + 1], 10) for i in range(len(queries))]
    for all_at_once, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(all_at_once, np.concatenate(parts))


def test_lists_that_hold_too_few_are_not_padded(rows):
    corpus, queries = rows
    lists = InvertedLists(corpus, IvfConfig(num_lists=50, num_probes=1))
    ids, products = lists.top_k(queries, 500)
    exact, all_products = top_k(queries, corpus, len(corpus))
    there = ids >= 0
    assert 0 < there.sum(axis=1).min() < 500
    assert (there == np.isfinite(products)).all()
    for row in range(len(queries)):
        found = ids[row][there[row]]
        assert not there[row][len(found) :].any()
        assert len(set(found)) == len(found)
        place = {text: at for at, text in enumerate(exact[row])}
        expected = [all_products[row, place[text]] for text in found]
        np.testing.assert_array_equal(products[row][there[row]], expected)
        assert (np.diff(products[row][there[row]]) <= 0).all()
    in_parts = InvertedLists(corpus, IvfConfig(num_lists=50, num_probes=1), cells=1000)
    np.testing.assert_array_equal(in_parts.top_k(queries, 500)[0], ids)


def test_what_cannot_be_is_one_clear_line(rows):
    corpus, queries = rows
    with pytest.raises(ValueError, match="needs a corpus of 3120 texts, this one has 3000; give a"):
        InvertedLists(corpus, IvfConfig(num_lists=80, num_probes=1))
    with pytest.raises(ValueError, match="has 30; search exactly"):
        InvertedLists(corpus[:30], IvfConfig(num_lists=1, num_probes=1))
    with pytest.raises(ValidationError, match="num_probes=3 exceeds num_lists=2"):
        IvfConfig(num_lists=2, num_probes=3)
    lists = InvertedLists(corpus, IvfConfig(num_lists=50, num_probes=1))
    with pytest.raises(ValueError, match="without queries"):
        lists.recall(queries[:0], 10)
