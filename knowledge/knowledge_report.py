"""How good extracted knowledge is: coverage, agreement, cost, and the truth where it is known.

Votes are compared with ground-truth counts of a class pair, beside two rankings that know nothing
of the pair: chance, and popularity (partners by how often they occur in the truth at all).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from artifacts.class_matrix import to_matrix
from artifacts.provenance import Frozen
from artifacts.store import Artifact, Store
from knowledge.datasets.listing import read_table
from knowledge.kinds.cooccurrence import count_videos
from knowledge.llm.budget import load_prices
from knowledge.question import ActionClass, read_classes
from knowledge.reading import Vocabulary

TOP = (1, 3, 5, 10)
"""Numbers of partners at which precision is told."""
COLUMNS = ("class", "other", "count")
"""Columns of a CSV file of truth."""

Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class Calls(Frozen):
    """What the replies cost, over all runs; the rate is that of the last one."""

    ref: str
    endpoint: str
    model: str
    requests: int
    """Questions of all rounds."""
    not_needed: int
    """Those that early stopping spared."""
    asked_again: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    """Cost of these tokens; None where the bundled price table is not the one they were sent with,
    or does not know the model."""
    duration_s: float
    calls_per_second: float


class Score(Frozen):
    """A figure of the votes beside those of two rankings that know nothing of the pair."""

    votes: float | None
    """None where it is not defined for any class."""
    chance: float | None
    """Expectation for partners drawn at random."""
    popularity: float | None
    """Of the partners that occur most often in the truth, ties by id."""


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


class KnowledgeReport(Frozen):
    """What there is to know about the knowledge in an artifact."""

    ref: str
    kind: str
    classes: int
    coverage: float
    """Share of the classes that were answered usably."""
    unanswered_classes: list[str]
    rows: int
    drops: dict[str, int]
    """Replies left out, by reason."""
    names_left_out: dict[str, int]
    """Names in replies left out, by reason."""
    warnings: dict[str, float]
    repeated_rounds: float | None
    """Share of later rounds that repeat an earlier reply exactly; None without rounds."""
    agreement: dict[str, Any] | None
    """See `knowledge.kinds.cooccurrence.agreement`; None for other kinds."""
    calls: Calls | None
    """None where the replies are not in the store any more."""
    truth: TruthReport | None


@dataclass(frozen=True)
class Truth:
    """Ground truth about all ordered pairs of classes, both axes in id order."""

    source: str
    counts: Counts
    """(K, K) videos that hold both; the diagonal is not used."""
    occurrences: Counts
    """(K,) videos that hold the class; only their order matters."""


def knowledge_report(
    store: Store, artifact: Artifact, truth: Artifact | Path | None = None
) -> KnowledgeReport:
    """Everything known about an artifact of a knowledge kind.

    Args:
        store: where its inputs are.
        artifact: made from replies of an LLM (`cooccurrence`, `descriptions`, `anatomy`).
        truth: ground truth for co-occurrence: `videos` of the same class list, of which all splits
            count, or a CSV file, see `truth_of_csv`.

    Raises:
        ValueError: not made from replies, its class list is gone, or a truth that does not fit.
    """
    manifest = artifact.manifest
    made_from = manifest.inputs
    if not {"classes", "calls"} <= made_from.keys():
        raise ValueError(
            f"{artifact.ref} was not made from replies of an LLM; "
            "report on cooccurrence/NAME, descriptions/NAME or anatomy/NAME"
        )
    if truth is not None and manifest.kind != "cooccurrence":
        raise ValueError(f"truth has no effect on {artifact.ref}; leave it out")
    classes = store.get(made_from["classes"].ref)
    actions = read_classes(classes)
    found = None
    if isinstance(truth, Artifact):
        found = truth_of_videos(truth, classes, actions)
    elif truth is not None:
        found = truth_of_csv(truth, actions)
    report = manifest.report
    return KnowledgeReport(
        ref=str(artifact.ref),
        kind=manifest.kind,
        classes=len(actions),
        coverage=report["coverage"],
        unanswered_classes=report.get("unanswered_classes", []),
        rows=manifest.num_rows,
        drops=report["drops"],
        names_left_out=report.get("names_left_out", {}),
        warnings=report.get("warnings", {}),
        repeated_rounds=report.get("repeated_rounds"),
        agreement=report.get("agreement"),
        calls=_calls(store, made_from["calls"].ref),
        truth=None if found is None else compare(artifact, actions, found),
    )


def truth_of_videos(
    videos: Artifact, classes: Artifact, actions: list[ActionClass] | None = None
) -> Truth:
    """Count the videos of all splits, decodable or not.

    Raises:
        ValueError: not a `videos` artifact, or of another class list.
    """
    if videos.manifest.kind != "videos":
        raise ValueError(f"{videos.ref} holds no ground truth; give videos/NAME or a CSV file")
    registered_with = videos.manifest.inputs.get("classes")
    if registered_with is None or registered_with.content_hash != classes.manifest.content_hash:
        raise ValueError(
            f"{videos.ref} was registered with another class list than {classes.ref}; "
            "give the videos of the same classes"
        )
    actions = actions or read_classes(classes)
    labels = videos.read(["class_ids"])["class_ids"].to_pylist()
    counts = count_videos(labels, actions, np.ones(len(actions), bool))
    return Truth(str(videos.ref), counts, np.diagonal(counts).copy())


def truth_of_csv(path: Path, actions: list[ActionClass]) -> Truth:
    """Read counts of unordered pairs from columns class, other, count.

    Names are compared by `normalised`. Pairs without a line have count 0. A line with twice the
    same class says how often it occurs at all; without any such line the sum of a class's counts
    stands for that.

    Raises:
        ValueError: no such columns, an unknown name, a count that is no whole number of at least 0,
            or two lines about one pair that differ.
    """
    table = read_table(str(path), "truth")
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path}: column {missing[0]!r} is missing; give {', '.join(COLUMNS)}")
    places = Vocabulary(
        {place: (each.name, each.prompt_name) for place, each in enumerate(actions)}
    )
    given: dict[tuple[int, int], int] = {}
    for line, row in enumerate(table[list(COLUMNS)].itertuples(index=False), start=2):
        *names, count = row
        pair = []
        for name in names:
            if (place := places.find(name)) is None:
                raise ValueError(
                    f"{path}, line {line}: class {name!r} is not in the class list; correct it"
                )
            pair.append(place)
        if not count.strip().isdecimal():
            raise ValueError(
                f"{path}, line {line}: count {count!r} is no whole number of at least 0; correct it"
            )
        first, second = sorted(pair)
        if given.setdefault((first, second), int(count)) != int(count):
            raise ValueError(
                f"{path}, line {line}: {names[0]!r} and {names[1]!r} had another count before; "
                "leave one out"
            )
    counts = np.zeros((len(actions), len(actions)), np.int64)
    for (first, second), count in given.items():
        counts[first, second] = counts[second, first] = count
    own = any(first == second for first, second in given)
    return Truth(str(path), counts, np.diagonal(counts).copy() if own else counts.sum(axis=1))


def compare(artifact: Artifact, actions: list[ActionClass], truth: Truth) -> TruthReport:
    """Compare the votes and the selected pairs of a `cooccurrence` artifact with ground truth."""
    table = artifact.read()
    ids = [each.class_id for each in actions]
    votes = to_matrix(table, "votes", ids).values.astype(np.float64)
    position = to_matrix(table, "mean_position", ids).values
    selected = to_matrix(table, "selected", ids).values.copy()
    counted = {r["class_id"] for r in table.to_pylist() if r["source"] == "train"}
    is_true = truth.counts > 0
    np.fill_diagonal(is_true, False)
    np.fill_diagonal(selected, False)
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
        rank_correlation=_rank_correlation(votes, popular, truth.counts, has_truth),
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


def _rank_correlation(votes: Reals, popular: Reals, counts: Counts, rows: Flags) -> Score:
    others = ~np.eye(len(votes), dtype=bool)

    def mean(strength: Reals) -> float | None:
        pairs = [
            pd.DataFrame({"strength": strength[i, others[i]], "count": counts[i, others[i]]})
            for i in np.flatnonzero(rows)
        ]
        found = [float(pair.rank().corr().to_numpy()[0, 1]) for pair in pairs]
        return _mean([each for each in found if not np.isnan(each)])

    return Score(votes=mean(votes), chance=0.0, popularity=mean(popular))


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _calls(store: Store, ref: str) -> Calls | None:
    try:
        calls = store.get(ref)
    except ValueError:
        return None
    report, config = calls.manifest.report, calls.manifest.config
    prices = load_prices()
    price = prices.of(config["endpoint"], config["model"])
    if report.get("prices", {}).get("sha256") != prices.sha256:
        price = None
    figures = {name: report[name] for name in Calls.model_fields if name in report}
    return Calls(
        ref=str(calls.ref),
        endpoint=config["endpoint"],
        model=config["model"],
        usd=price and price.usd(report["prompt_tokens"], report["completion_tokens"]),
        **figures,
    )
