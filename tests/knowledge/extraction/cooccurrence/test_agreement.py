"""Agreement: the published examples, the literal definition, and noise that was put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.extraction.cooccurrence.agreement import (
    Asymmetry,
    asymmetry,
    krippendorff_alpha,
    mean_margin,
)


def alpha(values):
    """Of the (coders, units) values themselves, NaN where one is missing."""
    return krippendorff_alpha(np.array([(values == c).sum(axis=0) for c in np.unique(values)]))


def literal_alpha(values):
    """Krippendorff 2011 word by word: every pair of values of a unit enters the matrix."""
    categories = sorted({v for row in values for v in row if not np.isnan(v)})
    o = {(c, k): 0.0 for c in categories for k in categories}
    for unit in zip(*values, strict=True):
        given_values = [v for v in unit if not np.isnan(v)]
        for a, c in enumerate(given_values):
            for b, k in enumerate(given_values):
                if a != b:
                    o[c, k] += 1 / (len(given_values) - 1)
    n_c = {c: sum(o[c, k] for k in categories) for c in categories}
    n = sum(n_c.values())
    observed = sum(value for (c, k), value in o.items() if c != k)
    expected = sum(n_c[c] * n_c[k] for c in categories for k in categories if c != k)
    return 1 - (n - 1) * observed / expected if expected else None


def reliability(*rows):
    return np.array([[np.nan if v == "." else float(v) for v in row.split()] for row in rows])


def test_published_examples():
    binary = reliability("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
    assert alpha(binary) == pytest.approx(0.095, abs=5e-4)
    nominal = reliability(
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    assert alpha(nominal) == pytest.approx(0.743, abs=5e-4)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_alpha_is_the_definition(data):
    coders, units = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 8))
    value = st.sampled_from([np.nan, 0.0, 1.0, 2.0][: data.draw(st.integers(2, 4))])
    rows = st.lists(value, min_size=units, max_size=units)
    values = np.array(data.draw(st.lists(rows, min_size=coders, max_size=coders)))
    expected = literal_alpha(values)
    assert alpha(values) == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_alpha_is_undefined_without_variation_or_comparison():
    assert alpha(np.zeros((3, 4))) is None
    assert alpha(np.full((2, 3), np.nan)) is None
    assert alpha(np.array([[0.0, 1.0, 1.0]])) is None


def test_margin():
    votes, rounds = np.array([[0, 5], [3, 1]]), np.array([[0, 5], [5, 2]])
    assert mean_margin(votes, rounds) == pytest.approx((1 + 1 / 5 + 0) / 3)
    assert mean_margin(np.zeros((2, 2), int), rounds) is None


def test_asymmetry_counts_each_pair_once():
    votes = np.array([[9, 3, 2, 0], [0, 0, 3, 3], [3, 3, 0, 0], [0, 3, 0, 0]])
    rounds = np.full((4, 4), 5)
    rounds[3, 0] = 0
    comparable = np.ones((4, 4), bool)
    comparable[2, 3] = False
    found = asymmetry(votes, rounds, comparable)  # 01 and 02 differ; 12 and 13 do not
    assert found == Asymmetry(4, 0.5)
    assert found.noise == 0.5
    assert Asymmetry(4, 0.75).noise is None
    assert asymmetry(votes, rounds, np.eye(4, dtype=bool)) == Asymmetry(0, None)
    assert Asymmetry(0, None).noise is None


@pytest.mark.parametrize("noise", [0.02, 0.15, 0.3])
def test_noise_that_was_put_in_is_found(noise):
    draw = np.random.default_rng(0)
    size = 400
    truth = np.triu(draw.random((size, size)) < 0.3, 1)
    votes = ((truth | truth.T) ^ (draw.random((size, size)) < noise)).astype(int)
    every = np.ones((size, size), bool)
    assert asymmetry(votes, every.astype(int), every).noise == pytest.approx(noise, abs=0.01)
