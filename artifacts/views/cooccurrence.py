"""Class pairs that happen together."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.views.rows import class_names


@dataclass(frozen=True)
class ClassPair:
    """A class, one that co-occurs with it, and what that rests on."""

    class_id: int
    other_id: int
    class_name: str | None
    """None, as `other_name`: the classes are unknown."""
    other_name: str | None
    votes: int
    """Rounds that named the pair, of `rounds`."""
    rounds: int
    votes_back: int
    """Votes of the pair the other way round."""
    mean_position: float | None
    """Mean place in the replies, 1 = first."""
    count: int
    """Training videos that hold both."""
    source: str
    selected: bool


def strongest_pairs(artifact: Artifact, limit: int) -> list[ClassPair]:
    """Pairs of two different classes, the most voted for first.

    Raises:
        ValueError: not a co-occurrence artifact.
    """
    if artifact.manifest.kind != "cooccurrence":
        raise ValueError(f"{artifact.ref} is not a co-occurrence artifact")
    names = class_names(artifact)
    table = artifact.read()
    table = table.filter(pc.not_equal(table["class_id"], table["other_id"]))
    pairs = {(row["class_id"], row["other_id"]): row for row in table.to_pylist()}
    order = sorted(
        pairs.values(),
        key=lambda row: (
            -row["votes"],
            -row["count"],
            row["mean_position"] or float("inf"),
            row["class_id"],
            row["other_id"],
        ),
    )
    return [
        ClassPair(
            **row,
            class_name=names.get(row["class_id"]),
            other_name=names.get(row["other_id"]),
            votes_back=pairs.get((row["other_id"], row["class_id"]), {}).get("votes", 0),
        )
        for row in order[:limit]
    ]
