"""Which candidates of a video may be its negatives: vectorised tests, each with its status.

Legend: N videos, W candidates of a video by falling cosine, C true classes of a video (-1: none),
K classes of the dataset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.kinds import NEGATIVE_STATUS
from knowledge.mining.config import MiningConfig
from knowledge.mining.corpus import Corpus

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Reals = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

CODE = {status: code for code, status in enumerate(NEGATIVE_STATUS)}
DECIMALS = 9
"""Of margins, as of the cosines they come from: 0.3 - 0.1 is not below 0.2."""


@dataclass(frozen=True)
class FilterResult:
    """Which candidates (N, W) of some videos may be negatives, and why the others may not."""

    codes_NW: Codes
    """Index into `NEGATIVE_STATUS`."""
    searched_NW: Flags
    """Candidates up to the one that ends the search: the top_k-th kept, or one after which every
    other is rejected."""
    ended_N: Flags
    """Videos whose search has ended; the others need more candidates."""


class NegativeFilter:
    """Keeps candidates as hard negatives, or rejects them with a status."""

    def __init__(self, corpus: Corpus, config: MiningConfig, votes_KK: Ints | None) -> None:
        self.corpus, self.config, self.votes_KK = corpus, config, votes_KK

    def apply(
        self, ids_NW: Ints, cosines_NW: Reals, truth_NC: Ints, own_N: Ints, own_cosine_N: Reals
    ) -> FilterResult:
        """The status of candidates that are given by falling cosine.

        Args:
            ids_NW: texts of the corpus.
            cosines_NW: with the videos.
            truth_NC: true classes by position in the dataset's list.
            own_N: the true class nearest to the video.
            own_cosine_N: its cosine.
        """
        config = self.config
        codes = np.zeros(ids_NW.shape, np.int8)
        class_NW = self.corpus.class_position[ids_NW]
        for truth_N in truth_NC.T:
            self._reject_by_class(codes, ids_NW, class_NW, truth_N[:, None], own_N[:, None])
        rank_NW = np.cumsum(codes == 0, axis=1)
        margin_NW = np.round(own_cosine_N[:, None] - cosines_NW, DECIMALS)
        bound_N = _relative_bound(own_cosine_N, config.max_relative_cosine)
        tests: dict[str, Any] = {  # in the order of NEGATIVE_STATUS
            "skip_ranks": rank_NW <= config.skip_ranks,
            "max_rank": _beyond(rank_NW, config.max_rank),
            "min_cosine": _below(cosines_NW, config.min_cosine),
            "max_margin": _beyond(margin_NW, config.max_margin),
            "max_cosine": _beyond(cosines_NW, config.max_cosine),
            "min_margin": _below(margin_NW, config.min_margin),
            "max_relative_cosine": _beyond(
                cosines_NW, None if bound_N is None else bound_N[:, None]
            ),
        }
        for status, failed in tests.items():
            if failed is not None:
                codes[(codes == 0) & failed] = CODE[status]
        ends_NW = (codes == 0) & (np.cumsum(codes == 0, axis=1) == config.top_k)
        for status in ("max_rank", "min_cosine", "max_margin"):  # all that follow fail, too
            if tests[status] is not None:
                ends_NW |= tests[status]
        ended_N = ends_NW.any(axis=1)
        last_N = np.where(ended_N, ends_NW.argmax(axis=1), ids_NW.shape[1])
        return FilterResult(codes, np.arange(ids_NW.shape[1]) <= last_N[:, None], ended_N)

    def votes(self, ids: Ints, truth_C: Ints) -> Ints | None:
        """Most rounds that name a true class together with the text's; -1: of no class.

        Args:
            ids: texts (R,).
            truth_C: true classes (R, C).
        """
        if self.votes_KK is None:
            return None
        position = self.corpus.class_position[ids]
        found = self.votes_KK[truth_C, position[:, None]]
        return np.where(position < 0, -1, np.where(truth_C < 0, -1, found).max(axis=1))

    def reasons(
        self,
        codes: Codes,
        ids: Ints,
        cosines: Reals,
        truth_C: Ints,
        own: Ints,
        own_cosines: Reals,
    ) -> pa.Array:
        """What a person wants to know about each rejection (R,); null for kept candidates."""
        words = pa.nulls(len(codes), pa.string())
        for status in NEGATIVE_STATUS[1:]:
            rows = np.flatnonzero(codes == CODE[status])
            if len(rows):
                given = (ids[rows], cosines[rows], truth_C[rows], own[rows], own_cosines[rows])
                mask = np.zeros(len(codes), bool)
                mask[rows] = True
                words = pc.replace_with_mask(words, pa.array(mask), self._words(status, *given))
        return words

    def _reject_by_class(
        self, codes: Codes, ids_NW: Ints, class_NW: Ints, truth_N1: Ints, own_N1: Ints
    ) -> None:
        """Mark the candidates that one true class of each video rules out."""
        true = (class_NW == truth_N1) & (truth_N1 >= 0)
        first = ids_NW < self.corpus.num_own  # others of its texts say the same: synonyms
        found = np.where(true & first, CODE["true_class"], 0)
        found[true & first & (truth_N1 == own_N1)] = CODE["own_class"]
        found[true & ~first] = CODE["synonym"]
        near = self.corpus.synonym_cosine(truth_N1, ids_NW) > self.config.synonym_cosine
        found[(found == 0) & near] = CODE["synonym"]
        limit = self.config.max_cooccurrence_votes
        if self.votes_KK is not None and limit is not None:
            votes = self.votes_KK[truth_N1, class_NW]
            together = (votes > limit) & (class_NW >= 0) & (truth_N1 >= 0)
            found[(found == 0) & together] = CODE["cooccurring"]
        better = (found > 0) & ((codes == 0) | (found < codes))
        codes[better] = found[better]

    def _words(
        self, status: str, ids: Ints, cosines: Reals, truth_C: Ints, own: Ints, own_cosines: Reals
    ) -> pa.Array:
        names = self.corpus.own_names
        if status in ("own_class", "true_class"):
            return _joined("is ", names.take(pa.array(self.corpus.class_position[ids])))
        if status == "synonym":
            near_C = self.corpus.synonym_cosine(truth_C, ids[:, None])
            same_C = (self.corpus.class_position[ids][:, None] == truth_C) & (truth_C >= 0)
            best = np.where(same_C, 2.0, near_C).argmax(axis=1)
            rows = np.arange(len(ids))
            true_names = names.take(pa.array(truth_C[rows, best]))
            by_name = _joined("same name as ", true_names)
            by_cosine = _joined("text cosine ", _text(near_C[rows, best]), " to ", true_names)
            return pc.if_else(pa.array(same_C.any(axis=1)), by_name, by_cosine)
        if status == "cooccurring":
            votes = self.votes(ids, truth_C)
            assert votes is not None
            return _joined(pa.array(votes).cast(pa.string()), " rounds name it with a true class")
        limit = getattr(self.config, status)
        if status in ("skip_ranks", "max_rank"):
            words = "among the nearest " if status == "skip_ranks" else "after the nearest "
            return pa.array([f"{words}{limit}"] * len(ids), pa.string())
        if status == "max_relative_cosine":
            ends = (f" is above {limit:g} of ", _text(own_cosines))
            return _joined("cosine ", _text(cosines), *ends)
        what, values = ("cosine", cosines)
        if status.endswith("margin"):
            what, values = "margin", own_cosines - cosines
        side = "below" if status.startswith("min") else "above"
        return _joined(f"{what} ", _text(values), f" is {side} {limit:g}")


def _relative_bound(own_cosine_N: Reals, share: float | None) -> Reals | None:
    if share is None:
        return None
    return np.round(own_cosine_N - (1 - share) * np.abs(own_cosine_N), DECIMALS)


def _below(values: Reals, limit: float | None) -> Flags | None:
    return None if limit is None else values < limit


def _beyond(values: Any, limit: Any) -> Flags | None:
    return None if limit is None else np.asarray(values > limit)


def _text(values: Reals) -> pa.Array:
    return pc.round(pa.array(values), 4).cast(pa.string())


def _joined(*parts: pa.Array | str) -> pa.Array:
    scalars = [pa.scalar(part) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*scalars, "")
