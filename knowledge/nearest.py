"""Exact nearest texts by inner product, with ties broken by id.

FAISS proposes candidates in float32; their products are then taken in float64 and ordered by
(product, id). Rows in which a text outside the candidates could still belong to the top k are
searched in full. Legend: N queries, M corpus rows, D embedding.
"""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

DECIMALS = 9
"""Products equal to this many decimals are ties; float64 sums differ beyond the 15th."""

SLACK = 16
"""Candidates searched beyond k, so that a full search is rarely needed."""

FLOAT32_ERROR = 2e-6
"""Bound on the error of FAISS' products of unit rows."""

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Products = npt.NDArray[np.float64]


def top_k(queries_ND: Vectors, corpus_MD: Vectors, k: int) -> tuple[Ids, Products]:
    """The k corpus rows of largest inner product for each query.

    Args:
        queries_ND: (N, D) unit rows.
        corpus_MD: (M, D) unit rows.
        k: at most M are returned.

    Returns:
        ids (N, min(k, M)) and products in [-1, 1], best first; of equal ones the smaller id first.

    Raises:
        ValueError: k is not positive, the corpus is empty, or the widths differ.
    """
    _check(queries_ND, corpus_MD, k)
    k = min(k, len(corpus_MD))
    width = min(k + SLACK, len(corpus_MD))
    queries = np.ascontiguousarray(queries_ND, np.float32)
    corpus = np.ascontiguousarray(corpus_MD, np.float32)
    coarse, candidates = faiss.knn(queries, corpus, width, metric=faiss.METRIC_INNER_PRODUCT)
    candidates = np.sort(candidates, axis=1)  # ascending ids make the stable sort break ties by id
    exact = _products(queries, corpus, candidates)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k]
    ids = np.take_along_axis(candidates, order, axis=1)
    products = np.take_along_axis(exact, order, axis=1)
    if width < len(corpus):
        unsafe = products[:, -1] <= coarse[:, -1] + FLOAT32_ERROR
        for row in np.flatnonzero(unsafe):
            ids[row], products[row] = top_k_by_sorting(queries[row : row + 1], corpus, k)
    return ids, products


def top_k_by_sorting(queries_ND: Vectors, corpus_MD: Vectors, k: int) -> tuple[Ids, Products]:
    """The same by sorting all products: the definition `top_k` is tested against.

    Raises:
        ValueError: as for `top_k`.
    """
    _check(queries_ND, corpus_MD, k)
    everything = np.broadcast_to(np.arange(len(corpus_MD)), (len(queries_ND), len(corpus_MD)))
    exact = _products(queries_ND, corpus_MD, everything)
    order = np.argsort(-exact, axis=1, kind="stable")[:, :k].astype(np.int64)
    return order, np.take_along_axis(exact, order, axis=1)


def _products(queries_ND: Vectors, corpus_MD: Vectors, ids_NK: Ids) -> Products:
    """Rounded float64 products of each query with its candidates, in bounded memory."""
    out = np.empty(ids_NK.shape)
    for i, ids in enumerate(ids_NK):
        out[i] = np.einsum("d,kd->k", queries_ND[i].astype(float), corpus_MD[ids].astype(float))
    return np.clip(np.round(out, DECIMALS), -1.0, 1.0)


def _check(queries_ND: Vectors, corpus_MD: Vectors, k: int) -> None:
    if k < 1:
        raise ValueError(f"k={k}: at least one neighbour must be asked for")
    if not len(corpus_MD):
        raise ValueError("the corpus has no texts")
    if queries_ND.shape[1] != corpus_MD.shape[1]:
        raise ValueError(
            f"embeddings of {queries_ND.shape[1]} and {corpus_MD.shape[1]} dimensions cannot be "
            "compared; embed videos and texts with the same CLIP model"
        )
