"""The nearest class mean against a loop over episodes, classes and queries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.literal import nearest_class_mean_hits
from training.evaluation.nearest_class_mean import EPISODES_PER_PASS, measure, nearest_class_mean


def episodes(rng, num, ways, shots, queries, num_videos):
    index = rng.integers(num_videos, size=(num, ways, shots + queries))
    return index[..., :shots], index[..., shots:]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 6),
    st.integers(2, 5),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(2, 9),
)
def test_hits_are_those_of_the_definition(seed, num, ways, shots, queries, dim):
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(20, dim)) * rng.uniform(0.1, 30, size=(20, 1))
    support, query = episodes(rng, num, ways, shots, queries, 20)
    found = nearest_class_mean(*map(torch.from_numpy, (embeddings, support, query)))
    assert np.array_equal(found.numpy(), nearest_class_mean_hits(embeddings, support, query))


def test_episodes_in_several_passes():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(30, 6))
    support, query = episodes(rng, EPISODES_PER_PASS + 3, 3, 2, 1, 30)
    found = nearest_class_mean(*map(torch.from_numpy, (embeddings, support, query)))
    assert np.array_equal(found.numpy(), nearest_class_mean_hits(embeddings, support, query))


def test_embeddings_without_difference_give_chance():
    support, query = torch.zeros(4, 5, 2, dtype=torch.long), torch.ones(4, 5, 3, dtype=torch.long)
    hits = nearest_class_mean(torch.ones(2, 8), support, query)
    assert measure(hits)["accuracy"] == pytest.approx(1 / 5)


def test_accuracy_and_its_interval_are_over_episodes():
    rng = np.random.default_rng(0)
    hits = rng.random((50, 5, 2)) < 0.7
    shares = [float(np.mean(each)) for each in hits]
    expected = 1.96 * np.std(shares, ddof=1) / math.sqrt(50)
    found = measure(torch.from_numpy(hits))
    assert found["accuracy"] == pytest.approx(np.mean(shares))
    assert found["ci95"] == pytest.approx(expected)
    assert measure(torch.from_numpy(hits[:1])) == {
        "accuracy": pytest.approx(shares[0]),
        "ci95": 0.0,
    }
