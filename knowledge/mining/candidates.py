"""The candidates of each video, searched, filtered and ranked: which texts are its hard negatives.

Legend: N videos, M texts, D embedding, W candidates of a video, R candidates that were filtered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artifacts.kinds import NEGATIVE_STATUS
from knowledge.mining.corpus import Corpus, Ints, Reals, Vectors
from knowledge.mining.filters import NegativeFilter
from knowledge.mining.videos import MinedVideos

if TYPE_CHECKING:
    from knowledge.mining.inverted_lists import InvertedLists

SLACK = 16
"""Candidates fetched beyond top_k at first; twice as many for the videos that are still short."""

SEARCHED = 1 << 25
"""Candidates searched for in one pass over the texts, 16 bytes each."""

FILTERED = 1 << 20
"""Candidates filtered at a time."""

Search = Callable[[Vectors, int], tuple[Ints, Reals]]
"""Texts and cosines (N, W) of the W nearest texts, best first; -1 where it found no more."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Texts that may be negatives, kept or rejected: R rows by video and falling cosine.

    Of the rejected texts of other corpora only the nearest of each video are here, the others are
    counted: a strict filter may reject most of a million texts.
    """

    video: Ints
    text: Ints
    cosine: Reals
    code: npt.NDArray[np.int8]
    """Index into `NEGATIVE_STATUS`."""
    rank: npt.NDArray[np.int32]
    """From 1; 0: not kept."""
    dataset_rank: npt.NDArray[np.int32]
    """The same among the dataset's own classes."""
    left_out_NS: Ints
    """Rejected candidates that are not here, per video and status."""

    @classmethod
    def none(cls) -> Candidates:
        """No candidates."""
        ints, ranks = np.zeros(0, np.int64), np.zeros(0, np.int32)
        left_out = np.zeros((0, len(NEGATIVE_STATUS)), np.int64)
        return cls(ints, ints, np.zeros(0), np.zeros(0, np.int8), ranks, ranks, left_out)

    def of_videos(self, start: int, stop: int) -> Candidates:
        """The rows of some videos, which are counted from 0 then."""
        rows = slice(*np.searchsorted(self.video, (start, stop)))
        return Candidates(
            self.video[rows] - start,
            self.text[rows],
            self.cosine[rows],
            self.code[rows],
            self.rank[rows],
            self.dataset_rank[rows],
            self.left_out_NS[start:stop],
        )


def rank_candidates(
    mined: MinedVideos,
    corpus: Corpus,
    negative_filter: NegativeFilter,
    lists: InvertedLists | None = None,
    device: str | None = None,
    *,
    slack: int = SLACK,
    searched: int = SEARCHED,
) -> Candidates:
    """All candidates of all videos that decide which ones are kept.

    Ranked twice, among all texts and among the dataset's own classes, because training may use
    either; a candidate that is among the first top_k of one ranking only has no rank in the other.

    Args:
        mined: the videos.
        corpus: the texts.
        negative_filter: what rejects a candidate.
        lists: approximate search among all texts; exact search when None. The dataset's own
            classes are always searched exactly.
        device: where exact search multiplies, "cpu" or "cuda"; by default a GPU if there is one.
        slack: candidates fetched beyond top_k at first.
        searched: candidates searched for in one pass over the texts.
    """
    if not len(mined):
        return Candidates.none()
    from knowledge.mining.nearest import top_k, top_k_of_blocks

    def everywhere(queries_ND: Vectors, width: int) -> tuple[Ints, Reals]:
        return top_k_of_blocks(queries_ND, corpus.blocks(), width, device=device)

    def among_own(queries_ND: Vectors, width: int) -> tuple[Ints, Reals]:
        return top_k(queries_ND, corpus.own_KD, width, device=device)

    own, none_left_out_NS = _ranked(
        mined, among_own, corpus.num_own, negative_filter, slack, searched
    )
    if len(corpus) == corpus.num_own:
        video, text, cosine, code, rank = own
        return Candidates(video, text, cosine, code, rank, rank, none_left_out_NS)
    search = lists.top_k if lists else everywhere
    among_all, left_out_NS = _ranked(mined, search, len(corpus), negative_filter, slack, searched)
    return _joined(among_all, own, left_out_NS, len(corpus))


def _joined(
    among_all: tuple[Any, ...], own: tuple[Any, ...], left_out_NS: Ints, num_texts: int
) -> Candidates:
    """Both rankings as one."""
    pairs = zip(among_all, own, strict=True)
    video, text, cosine, code, rank = (np.concatenate(pair) for pair in pairs)
    # Of a candidate in both, the row of the ranking among all texts comes first.
    _, first, both = np.unique(video * num_texts + text, return_index=True, return_inverse=True)
    ranks = np.zeros((2, len(first)), np.int32)  # among all, among the dataset's own
    which = np.repeat([0, 1], [len(among_all[0]), len(own[0])])
    ranks[which, both] = rank
    final = np.where((ranks > 0).any(axis=0), 0, code[first]).astype(np.int8)
    order = np.lexsort((text[first], -cosine[first], video[first]))
    chosen = first[order]
    columns = (video[chosen], text[chosen], cosine[chosen], final[order])
    return Candidates(*columns, ranks[0, order], ranks[1, order], left_out_NS)


def _ranked(
    mined: MinedVideos,
    search: Search,
    num_texts: int,
    negative_filter: NegativeFilter,
    slack: int,
    searched: int,
) -> tuple[tuple[Any, ...], Ints]:
    """Video, text, cosine, code and rank of the candidates of one ranking, by video and cosine.

    Each round is one search, for the videos that are still short. The second value is
    `Candidates.left_out_NS`.
    """
    found: list[tuple[Any, ...]] = []
    left_out_NS = np.zeros((len(mined), len(NEGATIVE_STATUS)), np.int64)
    short = np.arange(len(mined))
    width = min(negative_filter.config.top_k + slack, num_texts)
    while len(short):
        still = []
        for rows in _split(short, searched // width):
            ids_NW, cosines_NW = search(mined.embedding_ND[rows], width)
            for some in _split(np.arange(len(rows)), FILTERED // width):
                ended, left_out, *columns = _filtered(
                    mined,
                    rows[some],
                    ids_NW[some],
                    cosines_NW[some],
                    negative_filter,
                    width == num_texts,
                )
                left_out_NS[rows[some]] = left_out
                found.append(tuple(columns))
                still.append(rows[some][~ended])
        short, width = np.concatenate(still), min(2 * width, num_texts)
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.argsort(joined[0], kind="stable")  # each video was found in one round
    return tuple(column[order] for column in joined), left_out_NS


def _filtered(
    mined: MinedVideos,
    rows: Ints,
    ids_NW: Ints,
    cosines_NW: Reals,
    negative_filter: NegativeFilter,
    all_texts: bool,
) -> tuple[Any, ...]:
    """Whose search has ended (N,); what was left out of theirs (N, S); the other candidates."""
    result = negative_filter.apply(
        ids_NW, cosines_NW, mined.truth_NC[rows], mined.own_N[rows], mined.own_cosine_N[rows]
    )
    there_NW = ids_NW >= 0  # probed lists may hold fewer
    ended_N = result.ended_N | all_texts | ~there_NW.all(axis=1)
    seen_NW = result.searched_NW & there_NW & ended_N[:, None]
    kept_NW = seen_NW & (result.codes_NW == 0)
    rank_NW = np.cumsum(kept_NW, axis=1, dtype=np.int32) * kept_NW
    far_NW = seen_NW & ~kept_NW & (ids_NW >= negative_filter.corpus.num_own)
    far_NW &= np.cumsum(seen_NW & ~kept_NW, axis=1) > negative_filter.config.max_rejected
    left_out_NS = _counts(result.codes_NW, far_NW)
    row, column = np.nonzero(seen_NW & ~far_NW)
    cells = (ids_NW, cosines_NW, result.codes_NW, rank_NW)
    return ended_N, left_out_NS, rows[row], *(each[row, column] for each in cells)


def _counts(codes_NW: npt.NDArray[np.int8], which_NW: npt.NDArray[np.bool_]) -> Ints:
    """How many of the chosen candidates of each video have each status (N, S)."""
    row, column = np.nonzero(which_NW)
    S = len(NEGATIVE_STATUS)
    flat = np.bincount(row * S + codes_NW[row, column], minlength=len(codes_NW) * S)
    return flat.reshape(-1, S)


def _split(rows: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, len(rows), max(1, size)):
        yield rows[start : start + max(1, size)]
