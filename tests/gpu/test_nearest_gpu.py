"""Exact search on a GPU gives the ids of the CPU.

Tests in this folder are skipped where there is no GPU; run them there with `pytest tests/gpu`.
"""

import numpy as np
import pytest
import torch

from knowledge.mining.nearest import top_k
from tests.knowledge.mining.literal import top_k_by_sorting

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_ids_equal_a_full_sort_also_where_tf32_is_allowed():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_700, 512)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, corpus = rows[:300], rows[rng.integers(300, len(rows), 20_000)]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        ids, products = top_k(queries, corpus, 20, device="cuda")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    expected, exact = top_k_by_sorting(queries, corpus, 20)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(products, exact, rtol=0, atol=2e-9)
