"""The regression is at the minimum of its equation, and its strength is the best of the sweep."""

import pytest
import torch

from training.models.linear_probe.regression import minimise, strongest_best


def problem(num_videos=30, dim=5, num_classes=3, offset=4.0):
    generator = torch.Generator().manual_seed(0)
    class_N = torch.arange(num_videos) % num_classes
    direction_KD = torch.randn(num_classes, dim, generator=generator, dtype=torch.float64)
    noise_ND = torch.randn(num_videos, dim, generator=generator, dtype=torch.float64)
    return direction_KD[class_N] + 2 * noise_ND + offset, class_N


def literal_objective(weight_KD, bias_K, features_ND, class_N, strength):
    """sum_n -log(exp(w_c . x_n + b_c) / sum_k exp(w_k . x_n + b_k)) + strength / 2 sum w^2."""
    total = strength / 2 * sum(w**2 for row in weight_KD for w in row)
    for x_D, c in zip(features_ND, class_N.tolist(), strict=True):
        logits = [sum(w_D * x_D) + b for w_D, b in zip(weight_KD, bias_K, strict=True)]
        total = total - torch.log(torch.exp(logits[c]) / sum(torch.exp(each) for each in logits))
    return total


@pytest.mark.parametrize("strength", [0.03, 1.0, 100.0])
def test_the_gradient_of_the_literal_objective_is_zero(strength):
    features_ND, class_N = problem()
    found = minimise(features_ND, class_N, 3, strength, tolerance=1e-9)
    weight_KD, bias_K = found.weight_KD.requires_grad_(), found.bias_K.requires_grad_()
    value = literal_objective(weight_KD, bias_K, features_ND, class_N, strength)
    for gradient in torch.autograd.grad(value, (weight_KD, bias_K)):
        assert gradient.abs().max() < 1e-5
    assert weight_KD.abs().max() > 1e-3
    penalty = strength / 2 * float(weight_KD.detach().square().sum())
    assert found.cross_entropy == pytest.approx(
        (float(value.detach()) - penalty) / len(class_N), abs=1e-9
    )


def test_plain_gradient_descent_comes_to_the_same_place():
    features_ND, class_N = problem(num_videos=12, dim=3, offset=0.5)
    weight_KD = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    bias_K = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for _ in range(1200):
        logits_NK = features_ND @ weight_KD.T + bias_K
        chosen_N = logits_NK.gather(1, class_N[:, None])[:, 0]
        value = (logits_NK.exp().sum(1).log() - chosen_N).sum() + weight_KD.square().sum()
        gradients = torch.autograd.grad(value, (weight_KD, bias_K))
        with torch.no_grad():
            for parameter, gradient in zip((weight_KD, bias_K), gradients, strict=True):
                parameter -= 0.03 * gradient
    found = minimise(features_ND, class_N, 3, strength=2.0, tolerance=1e-9)
    torch.testing.assert_close(found.weight_KD, weight_KD.detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.bias_K, bias_K.detach(), rtol=0, atol=1e-6)


def test_it_ends_where_no_slope_is_larger_than_the_tolerance():
    features_ND, class_N = problem()
    slopes = []
    for tolerance in (1e-2, 1e-5):
        found = minimise(features_ND, class_N, 3, 0.1, tolerance)
        weight_KD = found.weight_KD.clone().requires_grad_()
        centred_ND = features_ND - features_ND.mean(dim=0)
        bias_K = found.bias_K + found.weight_KD @ features_ND.mean(dim=0)
        value = literal_objective(weight_KD, bias_K, centred_ND, class_N, 0.1)
        slope_KD = torch.autograd.grad(value, weight_KD)[0] / len(class_N)
        slopes.append(float(slope_KD.abs().max()))
        assert slopes[-1] <= tolerance
    assert slopes[1] < slopes[0]


def test_classes_that_can_be_told_apart_and_equal_features_are_no_trouble():
    features_ND, class_N = problem(offset=0.0)
    apart_ND = 50 * torch.eye(3, dtype=torch.float64)[class_N]
    for each_ND in (apart_ND, torch.zeros_like(features_ND), features_ND.float()):
        for strength in (1e-6, 1e6):
            found = minimise(each_ND, class_N, 3, strength)
            assert found.weight_KD.dtype == torch.float64
            assert bool(found.logits(each_ND.double()).isfinite().all())


def test_the_sweep_goes_from_coarse_to_fine_around_the_best():
    peak = 1.375

    def accuracy(strength):
        return 1 - abs(float(torch.tensor(strength).double().log10()) - peak)

    strength, tried = strongest_best(accuracy)
    assert strength == pytest.approx(10**peak)
    assert min(tried) == pytest.approx(1e-6)
    assert max(tried) == pytest.approx(1e6)
    assert len(tried) == 7 + 2 * 4
    assert tried[strength] == max(tried.values())


def test_of_equal_accuracies_the_stronger_regularisation_is_taken():
    assert strongest_best(lambda strength: 0.5)[0] == pytest.approx(1e6)
    strength, tried = strongest_best(lambda strength: float(strength < 2))
    assert strength == pytest.approx(10**0.25)
    assert tried[strength] == 1.0
    assert strongest_best(lambda strength: float(strength < 1e-5))[0] == pytest.approx(10**-5.125)
