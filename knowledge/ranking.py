"""The candidates of each video, searched, judged and ranked: which texts are its hard negatives.

Legend: N videos, M texts, D embedding, W candidates of a video, R candidates that were looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from knowledge.corpus import Corpus, Ints, Reals, Vectors
from knowledge.filters import Judge
from knowledge.mined_videos import MinedVideos

if TYPE_CHECKING:
    from knowledge.inverted_lists import InvertedLists

SLACK = 16
"""Candidates fetched beyond top_k at first; twice as many for the videos that are still short."""

SEARCHED = 1 << 25
"""Candidates searched for in one pass over the texts, 16 bytes each."""

JUDGED = 1 << 20
"""Candidates judged at a time."""

Search = Callable[[Vectors, int], tuple[Ints, Reals]]
"""Texts and cosines (N, W) of the W nearest texts, best first."""


@dataclass(frozen=True, eq=False)
class Looked:
    """The candidates that were looked at (R rows), by video and falling cosine."""

    video: Ints
    text: Ints
    cosine: Reals
    code: npt.NDArray[np.int8]
    """Index into `NEGATIVE_STATUS`."""
    rank: npt.NDArray[np.int32]
    """From 1; 0: not kept."""
    dataset_rank: npt.NDArray[np.int32]
    """The same among the dataset's own classes."""

    @classmethod
    def none(cls) -> Looked:
        """No candidates."""
        ints, ranks = np.zeros(0, np.int64), np.zeros(0, np.int32)
        return cls(ints, ints, np.zeros(0), np.zeros(0, np.int8), ranks, ranks)

    def of_videos(self, start: int, stop: int) -> Looked:
        """The rows of some videos, which are counted from 0 then."""
        rows = slice(*np.searchsorted(self.video, (start, stop)))
        return Looked(
            self.video[rows] - start,
            self.text[rows],
            self.cosine[rows],
            self.code[rows],
            self.rank[rows],
            self.dataset_rank[rows],
        )


def look(
    mined: MinedVideos, corpus: Corpus, judge: Judge, lists: InvertedLists | None = None
) -> Looked:
    """All candidates of all videos that decide which ones are kept.

    Ranked twice, among all texts and among the dataset's own classes, because training may use
    either; a candidate that is among the first top_k of one ranking only has no rank in the other.

    Args:
        mined: the videos.
        corpus: the texts.
        judge: what rejects a candidate.
        lists: approximate search among all texts; exact search when None. The dataset's own
            classes are always searched exactly.
    """
    if not len(mined):
        return Looked.none()
    from knowledge.nearest import top_k, top_k_of_blocks

    def everywhere(queries_ND: Vectors, width: int) -> tuple[Ints, Reals]:
        return top_k_of_blocks(queries_ND, corpus.blocks(), width)

    own = _ranked(mined, lambda q_ND, w: top_k(q_ND, corpus.own_KD, w), corpus.num_own, judge)
    if len(corpus) == corpus.num_own:
        video, text, cosine, code, rank = own
        return Looked(video, text, cosine, code, rank, rank)
    among_all = _ranked(mined, lists.top_k if lists else everywhere, len(corpus), judge)
    return _joined(among_all, own, len(corpus))


def _joined(among_all: tuple[Any, ...], own: tuple[Any, ...], num_texts: int) -> Looked:
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
    return Looked(
        video[chosen], text[chosen], cosine[chosen], final[order], ranks[0, order], ranks[1, order]
    )


def _ranked(mined: MinedVideos, search: Search, num_texts: int, judge: Judge) -> tuple[Any, ...]:
    """Video, text, cosine, code and rank of the candidates of one ranking, by video and cosine.

    Each round is one search, for the videos that are still short.
    """
    found: list[tuple[Any, ...]] = []
    short = np.arange(len(mined))
    width = min(judge.config.top_k + SLACK, num_texts)
    while len(short):
        still = []
        for rows in _split(short, SEARCHED // width):
            ids_NW, cosines_NW = search(mined.embedding_ND[rows], width)
            for some in _split(np.arange(len(rows)), JUDGED // width):
                ended, *columns = _judged(
                    mined, rows[some], ids_NW[some], cosines_NW[some], judge, width == num_texts
                )
                found.append(tuple(columns))
                still.append(rows[some][~ended])
        short, width = np.concatenate(still), min(2 * width, num_texts)
    joined = [np.concatenate(column) for column in zip(*found, strict=True)]
    order = np.argsort(joined[0], kind="stable")  # each video was found in one round
    return tuple(column[order] for column in joined)


def _judged(
    mined: MinedVideos, rows: Ints, ids_NW: Ints, cosines_NW: Reals, judge: Judge, all_texts: bool
) -> tuple[Any, ...]:
    """Videos whose search has ended (N,); video, text, cosine, code, rank of their candidates."""
    verdicts = judge.judge(
        ids_NW, cosines_NW, mined.truth_NC[rows], mined.own_N[rows], mined.own_cosine_N[rows]
    )
    ended_N = verdicts.ended_N | all_texts
    kept_NW = (verdicts.codes_NW == 0) & verdicts.looked_NW
    rank_NW = np.cumsum(kept_NW, axis=1, dtype=np.int32) * kept_NW
    row, column = np.nonzero(verdicts.looked_NW & ended_N[:, None])
    cells = (ids_NW, cosines_NW, verdicts.codes_NW, rank_NW)
    return ended_N, rows[row], *(each[row, column] for each in cells)


def _split(rows: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, len(rows), max(1, size)):
        yield rows[start : start + max(1, size)]
