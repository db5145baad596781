"""How far independent answers agree: Krippendorff's alpha, vote margin, noise by asymmetry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Asymmetry:
    """How often two answers to one question differ, where order should not matter."""

    pairs: int
    """Unordered pairs compared."""
    share: float | None
    """D, the share of them whose two majorities differ; None without pairs."""

    @property
    def noise(self) -> float | None:
        """e, the share of wrong majorities that explains D = 2e(1-e).

        That holds if the relation is symmetric and all majorities err alike and independently. None
        without pairs or with D > 0.5, which no e explains.
        """
        if self.share is None or self.share > 0.5:
            return None
        return (1 - math.sqrt(1 - 2 * self.share)) / 2


def krippendorff_alpha(counts: Counts) -> float | None:
    """Krippendorff's alpha for nominal data.

    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", sections A to C.

    Observed disagreement is the part of the coincidence matrix off its diagonal: unit u with m_u
    values adds n_uc * n_uk / (m_u - 1) for categories c != k. Expected is n_c * n_k / (n - 1).

    Args:
        counts: (categories, units) coders that gave a unit a category.

    Returns:
        At most 1, which is perfect agreement; 0 is that of chance. None if it is undefined: no unit
        has two values, or all values are equal.
    """
    counts = counts[:, counts.sum(axis=0) > 1].astype(np.float64)
    per_unit, per_category = counts.sum(axis=0), counts.sum(axis=1)
    total = per_category.sum()
    expected = total**2 - (per_category**2).sum()
    if not expected:
        return None
    observed = ((per_unit**2 - (counts**2).sum(axis=0)) / (per_unit - 1)).sum()
    return float(1 - (total - 1) * observed / expected)


def mean_margin(votes: Counts, rounds: Counts) -> float | None:
    """How clear the votes on the named pairs are: the mean of |2 votes - rounds| / rounds.

    Args:
        votes: (K, K) rounds that named the pair.
        rounds: (K, K) rounds that could have.

    Returns:
        From 0 (a tie everywhere) to 1 (unanimous); None if nothing was named.
    """
    named = votes > 0
    if not named.any():
        return None
    return float((np.abs(2 * votes - rounds)[named] / rounds[named]).mean())


def asymmetry(votes: Counts, rounds: Counts, comparable: npt.NDArray[np.bool_]) -> Asymmetry:
    """Compare the majority on i -> j (more than half of the rounds) with that on j -> i.

    Args:
        votes: (K, K) rounds that named the pair.
        rounds: (K, K) rounds that could have.
        comparable: (K, K) pairs asked about alike in both directions; those without a round in one
            direction and the diagonal are left out.
    """
    majority = 2 * votes > rounds
    both = np.triu(comparable & comparable.T & (rounds > 0) & (rounds.T > 0), 1)
    differ = (majority != majority.T)[both]
    return Asymmetry(len(differ), float(differ.mean()) if len(differ) else None)
