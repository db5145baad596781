"""Votes: which partners the replies about co-occurrence name, and how far the rounds agree.

Rounds of an LLM are not independent: their agreement bounds the noise from below.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from knowledge.extraction.cooccurrence.agreement import asymmetry, krippendorff_alpha, mean_margin
from knowledge.extraction.parse import ParsedReply
from knowledge.extraction.question import ActionClass
from knowledge.extraction.replies import Vocabulary

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class CooccurrenceReply(BaseModel):
    """What the LLM is asked to answer."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    actions: list[str]


@dataclass(frozen=True)
class Tally:
    """Votes over all classes, both axes in id order."""

    votes: Counts
    """(K, K) rounds that named the pair."""
    rounds: Counts
    """(K, K) rounds that gave a valid reply."""
    places: Counts
    """(K, K) sum of the places at which the pair was named, 1 = first."""
    drops: Counter[str]
    """Replies that name nothing valid, by reason."""
    names: Counter[str]
    """Names left out, by reason."""

    @property
    def mean_position(self) -> npt.NDArray[np.float64]:
        """(K, K) mean place; infinite where nobody named the pair."""
        place = np.full(self.votes.shape, np.inf)
        np.divide(self.places, self.votes, out=place, where=self.votes > 0)
        return place

    @property
    def unanimous(self) -> float | None:
        """Share of the named pairs that every round named; None without two rounds to compare."""
        named = (self.votes > 0) & (self.rounds > 1)
        return float((self.votes == self.rounds)[named].mean()) if named.any() else None

    @property
    def answered(self) -> Flags:
        """(K,) classes with a valid reply for every group they were asked about."""
        heard: Flags = (self.rounds > 0) | np.eye(len(self.rounds), dtype=bool)
        return np.asarray(heard.all(axis=1))


def vocabularies(actions: Iterable[ActionClass]) -> dict[str, Vocabulary]:
    """Names of each group's classes."""
    spellings: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    for each in actions:
        spellings[each.group][each.class_id] = (each.prompt_name, each.name)
    return {group: Vocabulary(names) for group, names in spellings.items()}


def partners(
    reply: CooccurrenceReply, vocabulary: Vocabulary, class_id: int
) -> tuple[list[int], Counter[str]]:
    """Ids of the other classes a reply names, in its order, and names left out by reason."""
    found, left_out = vocabulary.match(reply.actions)
    others = [each for each in found if each != class_id]
    left_out["self"] += len(found) - len(others)
    return others, left_out


def count_votes(
    replies: Iterable[ParsedReply[CooccurrenceReply]], actions: Sequence[ActionClass], keep: int
) -> Tally:
    """Votes of the replies.

    Only names of the group asked about count, each once, never the class itself; what is left is
    cut to the first `keep`. A reply that names only inventions is no valid reply.
    """
    place_of = {each.class_id: place for place, each in enumerate(actions)}
    names = vocabularies(actions)
    members: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(actions):
        members[each.group].append(place)
    shape = (len(actions), len(actions))
    votes, rounds, places = (np.zeros(shape, np.int64) for _ in range(3))
    drops: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for item in replies:
        row = place_of[item.class_id]
        found, reasons = partners(item.reply, names[item.group], item.class_id)
        left_out += reasons
        if reasons["invented"] and not found and not reasons["self"]:
            drops["only_inventions"] += 1
            continue
        others = [place_of[class_id] for class_id in found]
        left_out["beyond_keep"] += max(0, len(others) - keep)
        rounds[row, members[item.group]] += 1
        for position, column in enumerate(others[:keep], start=1):
            votes[row, column] += 1
            places[row, column] += position
    np.fill_diagonal(rounds, 0)
    return Tally(votes, rounds, places, drops, +left_out)


def can_change(
    votes: Mapping[int, int], rounds_left: int, min_votes: int, top_k: int, num_elsewhere: int
) -> bool:
    """Whether further rounds about a class and group can change which partners are selected.

    They cannot once every pair has its `min_votes` or cannot reach them, and all that reached them
    are sure of a place among the `top_k` (or there are none).

    Args:
        votes: rounds that named a partner, by its id.
        rounds_left: rounds not asked yet.
        min_votes: rounds that have to name a partner.
        top_k: partners selected per class.
        num_elsewhere: the most partners that other groups can give the class.
    """
    reached = sum(each >= min_votes for each in votes.values())
    can_reach = rounds_left >= min_votes or any(
        min_votes - rounds_left <= each < min_votes for each in votes.values()
    )
    return can_reach or bool(reached and reached + num_elsewhere > top_k)


def agreement(tally: Tally, actions: Sequence[ActionClass]) -> dict[str, Any]:
    """How far the rounds agree; what cannot be told is None.

    Returns:
        `alpha`, Krippendorff's alpha over all ordered pairs asked about, each round a coder;
        `unanimous`, share of the named pairs that every round named; `margin`, see
        `knowledge.extraction.cooccurrence.agreement.mean_margin`; `asymmetry` over the unordered
        pairs of classes of one group (they are asked about among equally many candidates): number
        of `pairs`, `share` D with differing majorities, and the `noise` e of D = 2e(1-e).
    """
    others = ~np.eye(len(actions), dtype=bool)
    votes, rounds = tally.votes[others], tally.rounds[others]
    groups = np.array([each.group for each in actions])
    found = asymmetry(tally.votes, tally.rounds, groups[:, None] == groups)
    return {
        "alpha": krippendorff_alpha(np.array([rounds - votes, votes])),
        "unanimous": tally.unanimous,
        "margin": mean_margin(tally.votes, tally.rounds),
        "asymmetry": {"pairs": found.pairs, "share": found.share, "noise": found.noise},
    }
