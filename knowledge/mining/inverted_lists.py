"""Approximate nearest rows by FAISS' inverted lists (IVF-Flat), with the recall they reach.

For corpora too large for the exact search of `knowledge.mining.nearest`. On embeddings without
clusters recall falls fast, so it is measured against exact search and belongs into the artifact's
report. Legend: N queries, M corpus rows, D embedding, K neighbours, C candidates, L lists, P
probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from knowledge.mining.config import IvfConfig
from knowledge.mining.nearest import DECIMALS, Ids, Products, Vectors, top_k

ROWS_PER_LIST = 39
"""Rows FAISS wants for each list's centroid."""

SLACK = 16
"""Candidates FAISS ranks in float32 beyond k, before they are ordered in float64."""

CELLS = 1 << 24
"""Numbers of candidate rows gathered at a time, 8 bytes each."""


@dataclass(frozen=True)
class Recall:
    """Share of the exact neighbours that were found."""

    recall: float
    """Mean over the measured queries, 0 to 1."""
    k: int
    num_measured: int


class InvertedLists:
    """A corpus divided for approximate search; FAISS holds a copy of it in memory."""

    def __init__(
        self, corpus_MD: Vectors, config: IvfConfig, device: str | None = None, cells: int = CELLS
    ) -> None:
        """Divide the corpus; the same for any number of threads.

        Args:
            corpus_MD: unit rows.
            config: how.
            device: where exact products with centroids, and for the recall, are taken; by default a
                GPU if there is one. The lists themselves are searched on the CPU.
            cells: numbers of candidate rows gathered at a time.

        Raises:
            ValueError: the corpus is too small for so many lists.
        """
        most = len(corpus_MD) // ROWS_PER_LIST
        if config.num_lists > most:
            raise ValueError(
                f"num_lists={config.num_lists} needs a corpus of {config.num_lists * ROWS_PER_LIST}"
                f" texts, this one has {len(corpus_MD)}; "
                + (f"give at most {most}, or search" if most else "search")
                + " exactly"
            )
        self.config, self.device, self.cells = config, device, cells
        self.corpus_MD = np.ascontiguousarray(corpus_MD, np.float32)
        width = self.corpus_MD.shape[1]
        self._centroids = faiss.IndexFlatIP(width)
        self._index: Any = faiss.IndexIVFFlat(
            self._centroids, width, config.num_lists, faiss.METRIC_INNER_PRODUCT
        )
        self._index.cp.seed = config.seed
        self._index.cp.spherical = True
        self._index.nprobe = config.num_probes
        self._index.train(self.corpus_MD)
        self._index.add(self.corpus_MD)
        self.centroids_LD = self._centroids.reconstruct_n(0, config.num_lists)
        """Compared exactly, so that a query's lists do not depend on the queries beside it."""

    def top_k(self, queries_ND: Vectors, k: int) -> tuple[Ids, Products]:
        """As `knowledge.mining.nearest.top_k`, among the probed lists.

        Where they hold fewer than k rows, the last ids are -1 and their products -inf.
        """
        k = min(k, len(self.corpus_MD))
        queries = np.ascontiguousarray(queries_ND, np.float32)
        probes_NP, products_NP = top_k(
            queries, self.centroids_LD, self.config.num_probes, device=self.device
        )
        num_candidates = min(k + SLACK, len(self.corpus_MD))
        _, candidates_NC = self._index.search_preassigned(
            queries, num_candidates, probes_NP, products_NP.astype(np.float32)
        )
        ids_NK = np.empty((len(queries), k), np.int64)
        products_NK = np.empty((len(queries), k))
        step = max(1, self.cells // (num_candidates * queries.shape[1]))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            ids_NK[part], products_NK[part] = self._ordered(queries[part], candidates_NC[part], k)
        return ids_NK, products_NK

    def recall(self, queries_ND: Vectors, k: int) -> Recall:
        """Recall of `top_k` on a sample of the queries, against exact search.

        Raises:
            ValueError: no queries.
        """
        if not len(queries_ND):
            raise ValueError("recall cannot be measured without queries; give at least one")
        num_measured = min(self.config.num_measured, len(queries_ND))
        rng = np.random.default_rng(self.config.seed)
        sample = queries_ND[np.sort(rng.permutation(len(queries_ND))[:num_measured])]
        found, _ = self.top_k(sample, k)
        exact, _ = top_k(sample, self.corpus_MD, k, device=self.device)
        common = [len(np.intersect1d(*pair)) for pair in zip(found, exact, strict=True)]
        return Recall(sum(common) / exact.size, exact.shape[1], num_measured)

    def _ordered(self, queries_ND: Vectors, candidates_NC: Ids, k: int) -> tuple[Ids, Products]:
        """The k best candidates in float64, of equal ones the smaller id first."""
        candidates_NC = np.sort(candidates_NC, axis=1)
        products_NC = np.empty(candidates_NC.shape)
        step = max(1, self.cells // queries_ND.size)
        for start in range(0, candidates_NC.shape[1], step):
            part = slice(start, start + step)
            rows_NCD = self.corpus_MD[candidates_NC[:, part]].astype(float)
            products_NC[:, part] = np.einsum("nd,ncd->nc", queries_ND.astype(float), rows_NCD)
        products_NC = np.clip(np.round(products_NC, DECIMALS), -1.0, 1.0)
        products_NC[candidates_NC < 0] = -np.inf
        order_NK = np.argsort(-products_NC, axis=1, kind="stable")[:, :k]
        return (
            np.take_along_axis(candidates_NC, order_NK, axis=1),
            np.take_along_axis(products_NC, order_NK, axis=1),
        )
