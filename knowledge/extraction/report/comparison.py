"""Votes and selected pairs against ground truth, beside two rankings that know nothing of a pair.

They are chance, and popularity: partners by how often they occur in the truth at all. Whether a
pair occurs, and in how many videos, mostly tells how frequent its classes are, so popularity does
well there; lift tells how often the pair occurs relative to that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from artifacts.artifact import Artifact
from artifacts.frozen import Frozen
from artifacts.views.class_matrix import to_matrix
from knowledge.extraction.question import ActionClass
from knowledge.extraction.report.ground_truth import Flags, Reals, Truth

TOP = (1, 3, 5, 10)
"""Numbers of partners at which precision is told."""


class Score(Frozen):
    """A figure of the votes beside those of two rankings that know nothing of the pair."""

    votes: float | None
    """None where it is not defined for any class."""
    chance: float | None
    """Expectation for partners drawn at random."""
    popularity: float | None
    """Of the partners that occur most often in the truth, ties by id."""


class LiftReport(Frozen):
    """How often pairs occur relative to independence of their classes, see `Truth.lift`.

    Over pairs of classes that occur, and classes with a true partner.
    """

    mean: Score
    """Mean over the selected pairs; baselines select as many per class. Rows that were themselves
    counted from training labels are left out."""
    above_one: Score
    """Share of the same pairs that occur more often than independent classes would."""
    rank_correlation: Score
    """Spearman's correlation of votes and lift over a class's pairs, as with counts."""


class TruthReport(Frozen):
    """Votes against ground truth, where a pair is true if at least one video holds both."""

    source: str
    classes: int
    """Classes with a true partner; means are over these."""
    true_pairs: int
    """Ordered pairs that are true."""
    precision: dict[int, Score]
    """k -> share of true pairs among a class's k partners with most votes (ties by mean position,
    then id), mean over classes. A class with fewer named partners counts with those it has, in the
    baselines too; one with none is left out."""
    recall: Score
    """Share of the true pairs that are selected; baselines select as many per class. Rows that were
    themselves counted from training labels are left out."""
    rank_correlation: Score
    """Spearman's correlation of votes and counts over a class's ordered pairs, ties by mean rank,
    mean over the classes for which it is defined."""
    lift: LiftReport | None
    """None where the truth does not tell how many videos there are and how many hold each class."""


def compare(artifact: Artifact, actions: list[ActionClass], truth: Truth) -> TruthReport:
    """Compare the votes and the selected pairs of a `cooccurrence` artifact with ground truth."""
    table = artifact.read()
    ids = [each.class_id for each in actions]
    votes = to_matrix(table, "votes", ids).values.astype(np.float64)
    position = to_matrix(table, "mean_position", ids).values
    selected = to_matrix(table, "selected", ids).values.copy()
    counted = {r["class_id"] for r in table.to_pylist() if r["source"] == "train"}
    others = ~np.eye(len(ids), dtype=bool)
    is_true = (truth.counts > 0) & others
    selected &= others
    popular = np.broadcast_to(truth.occurrences.astype(np.float64), votes.shape)
    by_votes = _ranking(votes, position)
    by_popularity = _ranking(popular, np.zeros_like(votes))
    has_truth: Flags = np.asarray(is_true.any(axis=1))
    from_votes = has_truth & ~np.isin(ids, list(counted))
    return TruthReport(
        source=truth.source,
        classes=int(has_truth.sum()),
        true_pairs=int(is_true.sum()),
        precision={
            k: _precision(k, votes, is_true, by_votes, by_popularity) for k in TOP if k < len(ids)
        },
        recall=_recall(
            selected[from_votes], is_true[from_votes], by_popularity[from_votes], len(ids) - 1
        ),
        rank_correlation=_rank_correlation(
            votes, popular, truth.counts, others & has_truth[:, None]
        ),
        lift=_lift(truth, votes, selected, has_truth, from_votes),
    )


def _ranking(strength: Reals, position: Reals) -> npt.NDArray[np.int64]:
    """(K, K-1) partners of each class, the strongest first, ties by position, then place."""
    size = len(strength)
    orders = [np.lexsort((np.arange(size), position[i], -strength[i])) for i in range(size)]
    return np.array([order[order != i] for i, order in enumerate(orders)])


def _precision(
    k: int,
    votes: Reals,
    is_true: Flags,
    by_votes: npt.NDArray[np.int64],
    by_popularity: npt.NDArray[np.int64],
) -> Score:
    named = np.minimum(k, (votes > 0).sum(axis=1))
    rows = np.flatnonzero((named > 0) & is_true.any(axis=1))

    def share(ranking: npt.NDArray[np.int64]) -> float | None:
        return _mean([is_true[i, ranking[i, : named[i]]].mean() for i in rows])

    return Score(
        votes=share(by_votes),
        chance=_mean(is_true[rows].sum(axis=1) / (len(votes) - 1)),
        popularity=share(by_popularity),
    )


def _recall(
    selected: Flags, is_true: Flags, by_popularity: npt.NDArray[np.int64], num_others: int
) -> Score:
    """All (classes, K) or, for the ranking, (classes, K-1)."""
    total = is_true.sum()
    if not total:
        return Score(votes=None, chance=None, popularity=None)
    sizes = selected.sum(axis=1)
    popular = sum(is_true[i, by_popularity[i, :size]].sum() for i, size in enumerate(sizes))
    return Score(
        votes=float((selected & is_true).sum() / total),
        chance=float((sizes * is_true.sum(axis=1)).sum() / num_others / total),
        popularity=float(popular / total),
    )


def _lift(
    truth: Truth, votes: Reals, selected: Flags, has_truth: Flags, from_votes: Flags
) -> LiftReport | None:
    lift = truth.lift
    if lift is None:
        return None
    pairs = has_truth[:, None] & (truth.occurrences > 0) & ~np.eye(len(votes), dtype=bool)
    popular = np.broadcast_to(truth.occurrences.astype(np.float64), votes.shape)
    chosen = selected & pairs & from_votes[:, None]
    return LiftReport(
        mean=_mean_over(lift, chosen, pairs, popular),
        above_one=_mean_over((lift > 1).astype(np.float64), chosen, pairs, popular),
        rank_correlation=_rank_correlation(votes, popular, lift, pairs),
    )


def _mean_over(values: Reals, chosen: Flags, pairs: Flags, popular: Reals) -> Score:
    """Mean over the chosen pairs, and over as many of each class's pairs by chance and popularity.

    All (K, K).
    """
    by_chance, by_popularity = [], []
    for i in np.flatnonzero(chosen.any(axis=1)):
        own, size = np.flatnonzero(pairs[i]), int(chosen[i].sum())
        by_chance += [values[i, own].mean()] * size
        most = own[np.argsort(-popular[i, own], kind="stable")]
        by_popularity += values[i, most[:size]].tolist()
    return Score(
        votes=_mean(values[chosen]), chance=_mean(by_chance), popularity=_mean(by_popularity)
    )


def _rank_correlation(votes: Reals, popular: Reals, truth: Any, pairs: Flags) -> Score:
    """Spearman's correlation with the truth, class by class; all (K, K)."""

    def mean(strength: Reals) -> float | None:
        ranks = [
            pd.DataFrame({"strength": strength[i, pairs[i]], "truth": truth[i, pairs[i]]}).rank()
            for i in np.flatnonzero(pairs.any(axis=1))
        ]
        found = [float(rank.corr().to_numpy()[0, 1]) for rank in ranks]
        return _mean([each for each in found if not np.isnan(each)])

    return Score(votes=mean(votes), chance=0.0, popularity=mean(popular))


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
