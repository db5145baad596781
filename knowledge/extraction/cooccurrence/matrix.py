"""The co-occurrence matrix: which partners of each class are selected, from votes or counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from knowledge.extraction.cooccurrence.votes import Counts, Flags, Tally

Mirror = Literal["none", "novel", "full"]


class Selection(Protocol):
    """The settings that decide what is selected."""

    @property
    def resolved_min_votes(self) -> int:
        """Rounds that have to name a pair."""

    @property
    def top_k(self) -> int:
        """Partners selected per class, before mirroring."""

    @property
    def resolved_mirror(self) -> Mirror:
        """Pairs selected in reverse."""

    @property
    def self_loop(self) -> bool:
        """Whether each class is selected with itself."""


@dataclass(frozen=True)
class Relation:
    """The co-occurrence matrix and the source of each cell, both (K, K) in id order."""

    selected: Flags
    source: npt.NDArray[np.str_]


def select(tally: Tally, counts: Counts | None, is_base: Flags, selection: Selection) -> Relation:
    """Select the partners of each class.

    Rows from votes: the `top_k` pairs with most votes, at least `min_votes`, ties by mean place,
    then id. Rows from counts (base rows, where counts are given): the `top_k` with the highest
    count above 0, ties by id. Then mirrored, and the diagonal set. C[b, n] = 1 for base b and novel
    n if n selected b.
    """
    from_counts = is_base & (counts is not None)
    strength, position = tally.votes.copy(), tally.mean_position
    least = np.where(from_counts, 1, selection.resolved_min_votes)
    source = np.full(tally.votes.shape, "llm", dtype="<U6")
    if counts is not None:
        strength[from_counts], position[from_counts] = counts[from_counts], 0
        source[from_counts[:, None] & (counts > 0)] = "train"
    np.fill_diagonal(strength, 0)
    selected = np.zeros(strength.shape, bool)
    for row, votes in enumerate(strength):
        order = np.lexsort((position[row], -votes))  # stable, so remaining ties are by id
        selected[row, order[votes[order] >= least[row]][: selection.top_k]] = True
    mirrored = selected.T & ~selected
    if selection.resolved_mirror == "none":
        mirrored[:] = False
    elif selection.resolved_mirror == "novel":
        mirrored &= is_base[:, None] & ~is_base[None, :]
    source[mirrored] = "mirror"
    selected |= mirrored
    np.fill_diagonal(source, "self")
    np.fill_diagonal(selected, selection.self_loop)
    return Relation(selected, source)
