"""Exact search as its definition says it."""

import numpy as np

from knowledge.mining.nearest import DECIMALS


def top_k_by_sorting(queries_ND, corpus_MD, k):
    """Ids and products of the k nearest rows, by sorting all products in float64."""
    products = np.einsum("nd,md->nm", queries_ND.astype(float), corpus_MD.astype(float))
    products = np.clip(np.round(products, DECIMALS), -1.0, 1.0)
    order = np.argsort(-products, axis=1, kind="stable")[:, :k].astype(np.int64)
    return order, np.take_along_axis(products, order, axis=1)
