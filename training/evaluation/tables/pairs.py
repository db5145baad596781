"""Pairs of classes that look alike: whether a video's own class is put before the other one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from artifacts.artifact import Artifact

Pair = tuple[int, int]
"""Two class ids."""


def pair_accuracy(predictions: Artifact, pairs: Sequence[Pair]) -> dict[str, dict[Pair, float]]:
    """Share of a pair's videos whose own class is ranked before its partner; guessing gives 0.5.

    A video with neither among the stored classes counts as not told apart.

    Args:
        predictions: of single-label videos.
        pairs: class ids; a class may occur once.

    Returns:
        Per protocol the share of each pair that has videos, in [0, 1].
    """
    partner = dict(pairs) | {second: first for first, second in pairs}
    pair_of = {class_id: pair for pair in pairs for class_id in pair}
    found: dict[str, dict[Pair, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for row in predictions.read(["protocol", "class_ids", "top_class_ids"]).to_pylist():
        true, ranked = row["class_ids"][0], row["top_class_ids"]
        if true in partner:
            before = partner[true] not in ranked[: _place(ranked, true)]
            found[row["protocol"]][pair_of[true]].append(true in ranked and before)
    return {
        protocol: {pair: sum(hits) / len(hits) for pair, hits in by_pair.items()}
        for protocol, by_pair in found.items()
    }


def mean_pair_accuracy(
    predictions: Artifact, groups: Mapping[str, Sequence[Pair]]
) -> dict[tuple[str, str], float]:
    """Mean of `pair_accuracy` over each group's pairs, by (protocol, group)."""
    return {
        (protocol, group): sum(shares.values()) / len(shares)
        for group, pairs in groups.items()
        for protocol, shares in pair_accuracy(predictions, pairs).items()
    }


def _place(ranked: Sequence[int], class_id: int) -> int:
    return ranked.index(class_id) if class_id in ranked else len(ranked)
