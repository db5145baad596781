"""soft_contrastive equals its definition, written out in loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.layers.losses import soft_contrastive


def literal(logits, positives, target, empty):
    divergences = []
    for row, truth in zip(logits, positives.double(), strict=True):
        if truth.sum() == 0 and empty == "mask":
            continue
        if target == "softmax10":
            p = [math.exp(10 * q) for q in truth.tolist()]
        else:
            p = truth.tolist() if truth.sum() > 0 else [1.0] * len(truth)
        q = row.exp() / row.exp().sum()
        p = [each / sum(p) for each in p]
        pairs = zip(p, q, strict=True)
        divergences.append(sum(a * (math.log(a) - b.log()) for a, b in pairs if a > 0))
    return sum(divergences) / len(divergences) if divergences else logits.sum() * 0


@settings(deadline=None)
@given(
    rows=st.integers(1, 5),
    columns=st.integers(1, 6),
    density=st.sampled_from([0.0, 0.2, 0.6]),
    seed=st.integers(0, 10**6),
    target=st.sampled_from(["exact", "softmax10"]),
    empty=st.sampled_from(["mask", "uniform"]),
)
def test_value_and_gradient_equal_the_definition(rows, columns, density, seed, target, empty):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    positives = torch.rand(rows, columns, generator=generator) < density
    ours, reference = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = soft_contrastive(ours, positives, target, empty)
    expected = literal(reference, positives, target, empty)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(ours.grad, reference.grad, rtol=0, atol=1e-9)


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(3, 4).bfloat16()
    loss = soft_contrastive(logits, torch.eye(3, 4) > 0)
    assert loss.dtype == torch.float32
    assert loss == soft_contrastive(logits.float(), torch.eye(3, 4) > 0)


def test_perfect_prediction_costs_nothing_even_with_several_positives():
    positives = torch.tensor([[True, True, False], [False, False, True]])
    logits = torch.where(positives, 0.0, -200.0).double()
    assert abs(soft_contrastive(logits, positives).item()) < 1e-12


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\) and positives \(3, 2\)"):
        soft_contrastive(torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool))
