"""Multinomial logistic regression with an L2 penalty, and the choice of its strength.

Legend: N videos, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

COARSE = tuple(range(-6, 7, 2))
"""Exponents of ten of the first strengths tried. Source: CLIP, appendix A.3."""
STEPS_PER_DECADE = 8
"""Resolution at which the search ends. Source: the same."""
TOLERANCE = 1e-5
"""A tenth of scikit-learn's, which CLIP used; a smaller one costs many iterations."""
_MAX_ITERATIONS = 1000
"""Source: the same."""


@dataclass(frozen=True, eq=False)
class Solution:
    """What is minimal."""

    weight_KD: torch.Tensor
    bias_K: torch.Tensor
    cross_entropy: float
    """Mean over the videos, without the penalty."""

    def logits(self, features_ND: torch.Tensor) -> torch.Tensor:
        """(N, K)."""
        return features_ND @ self.weight_KD.T + self.bias_K


def minimise(
    features_ND: torch.Tensor,
    class_N: torch.Tensor,
    num_classes: int,
    strength: float,
    tolerance: float = TOLERANCE,
) -> Solution:
    """Minimise sum_n -log softmax(W x_n + b)[c_n] + strength / 2 |W|^2 over W and b.

    The bias is free, so moving all features moves it alone: L-BFGS works on centred ones, which
    it needs far fewer iterations for. It starts at zero, in float64.

    Args:
        features_ND: x.
        class_N: c.
        num_classes: K.
        strength: above 0.
        tolerance: largest slope of the mean objective, of any weight, at which it ends.
    """
    features_ND = features_ND.double()
    mean_D = features_ND.mean(dim=0)
    centred_ND = features_ND - mean_D
    weight_KD = centred_ND.new_zeros(num_classes, centred_ND.shape[1]).requires_grad_()
    bias_K = centred_ND.new_zeros(num_classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight_KD, bias_K],
        max_iter=_MAX_ITERATIONS,
        max_eval=2 * _MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def cross_entropy() -> torch.Tensor:
        return F.cross_entropy(F.linear(centred_ND, weight_KD, bias_K), class_N)

    def objective() -> torch.Tensor:
        """Divided by N, so that the tolerances mean the same for any number of videos."""
        penalty = strength / 2 / len(class_N) * weight_KD.square().sum()
        loss = cross_entropy() + penalty
        weight_KD.grad, bias_K.grad = torch.autograd.grad(loss, (weight_KD, bias_K))
        return loss

    with torch.enable_grad():
        optimizer.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        bias_of_mean_K = bias_K - weight_KD @ mean_D
        return Solution(weight_KD.detach(), bias_of_mean_K, float(cross_entropy()))


def strongest_best(accuracy: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """The strength of the highest accuracy, the stronger of equals.

    Coarse to fine as CLIP's: every second power of ten from 1e-6 to 1e6, then the middles of the
    intervals beside the best one so far, until there are 8 steps to a power.

    Args:
        accuracy: of a strength.

    Returns:
        The strength, and the accuracy of each that was tried.
    """
    found = {float(exponent): accuracy(10.0**exponent) for exponent in COARSE}
    step = float(COARSE[1] - COARSE[0])

    def best() -> float:
        return max(found, key=lambda exponent: (found[exponent], exponent))

    while step > 1 / STEPS_PER_DECADE:
        step /= 2
        centre = best()
        for exponent in (centre - step, centre + step):
            if COARSE[0] <= exponent <= COARSE[-1]:
                found[exponent] = accuracy(10.0**exponent)
    return 10.0 ** best(), {10.0**exponent: found[exponent] for exponent in sorted(found)}
