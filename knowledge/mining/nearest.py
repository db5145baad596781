"""Exact nearest rows by inner product, over a corpus that need not fit into memory.

A coarse product (bfloat16 where the processor multiplies it in hardware, else float32) comes with
a bound on its error and proposes every row that could be among the k nearest; only those are
multiplied in float64 and ordered by (product, id). So the result depends on no block size, device
or number of threads. Legend: N queries, M corpus rows, D embedding, K neighbours, G groups,
n and m rows of one tile, c candidates.
"""

from __future__ import annotations

import contextlib
import math
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

DECIMALS = 9
"""Products equal to this many decimals are ties; float64 sums differ beyond the 15th."""

BLOCK = 4096
"""Corpus rows multiplied at a time; smaller blocks are put together, larger ones split."""

CHUNK = 2048
"""Queries multiplied at a time."""

GROUP = 64
"""Columns of a tile whose maximum is compared first."""

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Products = npt.NDArray[np.float64]
Coarse = Literal["float32", "bfloat16"]

_HALF_ULP = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}


def top_k(
    queries_ND: Vectors,
    corpus_MD: Vectors,
    k: int,
    *,
    coarse: Coarse | None = None,
    device: str | None = None,
) -> tuple[Ids, Products]:
    """The k corpus rows of largest inner product for each query.

    Args:
        queries_ND: (N, D) unit rows.
        corpus_MD: (M, D) unit rows.
        k: at most M are returned.
        coarse: type of the coarse products; by default the fastest of the device.
        device: where they are taken, "cpu" or "cuda"; by default a GPU when there is one.

    Returns:
        ids (N, min(k, M)) and products in [-1, 1], best first; of equal ones the smaller id first.

    Raises:
        ValueError: k is not positive, the corpus is empty, the widths differ, or a value is not
            finite.
    """
    return top_k_of_blocks(queries_ND, [(0, corpus_MD)], k, coarse=coarse, device=device)


def top_k_of_blocks(
    queries_ND: Vectors,
    blocks: Iterable[tuple[int, Vectors]],
    k: int,
    *,
    coarse: Coarse | None = None,
    device: str | None = None,
) -> tuple[Ids, Products]:
    """As `top_k`, over a corpus that arrives in blocks (first id, rows (m, D)) of rising ids.

    Only the queries, two blocks and about 200 MB are held.

    Raises:
        ValueError: as for `top_k`, or ids that do not rise.
    """
    if k < 1:
        raise ValueError(f"k={k}: at least one neighbour must be asked for")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, coarse) if coarse else fastest(device)
    search = _Search(queries_ND, k, dtype)
    with _whole_float32(), _workers() as workers, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        search.measure(workers)
        running: list[Future[None]] = []
        for ids_M, rows_MD in _regular(blocks, queries_ND.shape[1]):
            block = _Block.of(ids_M, rows_MD, dtype, device)  # while the last one is searched
            _finish(running)
            running = search.add(block, workers)
        _finish(running)
    if not search.num_seen:
        raise ValueError("the corpus has no texts")
    width = min(k, search.num_seen)
    return search.ids_NK[:, :width].numpy(), search.products_NK[:, :width].numpy()


@dataclass(frozen=True)
class _Block:
    """Corpus rows of one step."""

    ids_M: torch.Tensor
    exact_MD: torch.Tensor
    """float64."""
    coarse_MD: torch.Tensor
    """On the device; filled with zero rows to a multiple of GROUP."""
    length: float
    """Largest length of a row."""
    rounding: float
    """Largest length of what a coarse row leaves out."""

    @classmethod
    def of(cls, ids_M: Ids, rows_MD: Vectors, dtype: torch.dtype, device: str) -> _Block:
        rows = torch.from_numpy(rows_MD)
        coarse = torch.zeros(math.ceil(len(rows) / GROUP) * GROUP, rows.shape[1], dtype=dtype)
        coarse[: len(rows)] = rows
        length, rounding = _lengths(rows, coarse[: len(rows)])
        return cls(
            torch.from_numpy(ids_M),
            rows.double(),
            coarse.to(device),
            float(length.max()),
            float(rounding.max()),
        )


class _Search:
    """The best neighbours of every query so far."""

    def __init__(self, queries_ND: Vectors, k: int, dtype: torch.dtype) -> None:
        self.queries_ND = torch.from_numpy(np.ascontiguousarray(queries_ND, np.float32))
        self.dtype = dtype
        num = len(queries_ND)
        self.chunks = [slice(i, i + CHUNK) for i in range(0, num, CHUNK)]
        self.length_N = torch.empty(num, dtype=torch.float64)
        self.rounding_N = torch.empty_like(self.length_N)
        self.ids_NK = torch.full((num, k), -1)
        self.products_NK = torch.full((num, k), -torch.inf, dtype=torch.float64)
        self.num_seen = 0
        self._tiles = threading.local()

    def measure(self, workers: Executor) -> None:
        """Bound what the coarse form of each query leaves out.

        Raises:
            ValueError: a query is not finite.
        """
        for _ in workers.map(self._measure, self.chunks):
            pass  # raises what a worker raised

    def _measure(self, chunk: slice) -> None:
        rows_nD = self.queries_ND[chunk]
        self.length_N[chunk], self.rounding_N[chunk] = _lengths(rows_nD, rows_nD.to(self.dtype))
        if not self.length_N[chunk].isfinite().all():
            _check_finite("query", chunk.start, rows_nD.numpy())

    def add(self, block: _Block, workers: Executor) -> list[Future[None]]:
        """Take the rows of a block, whose ids are larger than all before, which are done."""
        num_before, self.num_seen = self.num_seen, self.num_seen + len(block.ids_M)
        return [workers.submit(self._add, chunk, block, num_before) for chunk in self.chunks]

    def _add(self, chunk: slice, block: _Block, num_before: int) -> None:
        queries_nD = self.queries_ND[chunk]
        tile_nm = self._tile(queries_nD.to(block.coarse_MD), block.coarse_MD)
        tile_nm[:, len(block.ids_M) :] = -torch.inf
        error_n = self._error(chunk, block).to(tile_nm.device)
        floor_n = self.products_NK[chunk, -1].to(tile_nm.device) - 10.0**-DECIMALS
        rows_c, columns_c = _above(tile_nm, floor_n, error_n, self.products_NK.shape[1], self.dtype)
        if len(rows_c):
            rows_c, columns_c = rows_c.cpu(), columns_c.cpu()
            products_c = _products(queries_nD, block.exact_MD, rows_c, columns_c)
            self._merge(
                chunk, rows_c, block.ids_M.index_select(0, columns_c), products_c, num_before
            )

    def _tile(self, queries_nD: torch.Tensor, coarse_MD: torch.Tensor) -> torch.Tensor:
        """Coarse products as float32, in memory that a thread keeps: fresh pages cost a fifth."""
        shape = (len(queries_nD), len(coarse_MD))
        if vars(self._tiles).get("shape") != shape:
            fresh = torch.empty(shape, dtype=coarse_MD.dtype, device=coarse_MD.device)
            vars(self._tiles).update(shape=shape, product=fresh, tile=fresh.float())
        product: torch.Tensor = self._tiles.product
        tile_nm: torch.Tensor = self._tiles.tile
        torch.mm(queries_nD, coarse_MD.T, out=product)
        if tile_nm is not product:
            tile_nm.copy_(product)
        return tile_nm

    def _error(self, chunk: slice, block: _Block) -> torch.Tensor:
        """(n,) bound on |exact - coarse product| with any row of a block, before its rounding.

        |xy - x'y'| <= |x - x'| |y| + |x'| |y - y'|, and D additions in float32.
        """
        length_n, rounding_n = self.length_N[chunk], self.rounding_N[chunk]
        sums = 1.01 * (self.queries_ND.shape[1] + 2) * 2.0**-24
        whole = block.length + block.rounding
        return rounding_n * block.length + (length_n + rounding_n) * (block.rounding + sums * whole)

    def _merge(
        self,
        chunk: slice,
        rows_c: torch.Tensor,
        ids_c: torch.Tensor,
        products_c: torch.Tensor,
        num_before: int,
    ) -> None:
        """Best of the old and the new; both are in the order of ids among equal products."""
        rows_r, of_row_c, counts_r = torch.unique_consecutive(
            rows_c, return_inverse=True, return_counts=True
        )
        k = self.products_NK.shape[1]
        old = min(k, num_before)
        place_c = old + torch.arange(len(rows_c)) - (counts_r.cumsum(0) - counts_r)[of_row_c]
        width = max(k, old + int(counts_r.max()))
        products = torch.full((len(rows_r), width), -torch.inf, dtype=torch.float64)
        ids = torch.full((len(rows_r), width), -1)
        products[:, :old] = self.products_NK[chunk, :old][rows_r]
        ids[:, :old] = self.ids_NK[chunk, :old][rows_r]
        products[of_row_c, place_c] = products_c
        ids[of_row_c, place_c] = ids_c
        products, order = products.sort(dim=1, descending=True, stable=True)
        self.products_NK[chunk][rows_r] = products[:, :k]
        self.ids_NK[chunk][rows_r] = ids.gather(1, order[:, :k])


def _above(
    tile_nm: torch.Tensor, floor_n: torch.Tensor, error_n: torch.Tensor, k: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns, ascending, of all that may belong to the k best.

    Args:
        tile_nm: coarse products, -inf where there is no corpus row.
        floor_n: what an exact product must reach; -inf before k were seen.
        error_n: bound on the difference of exact and coarse products before they are rounded.
        k: neighbours.
        dtype: what the products were rounded to.
    """
    if floor_n.isinf().any():
        floor_n = floor_n.maximum(_own_floor(tile_nm, error_n, k, dtype))
    least_n1 = _least(floor_n, error_n, dtype)[:, None]
    groups_pg = tile_nm.view(-1, GROUP)
    place_h = (groups_pg.amax(dim=1).view(len(tile_nm), -1) >= least_n1).flatten().nonzero()[:, 0]
    row_h = place_h // (tile_nm.shape[1] // GROUP)
    groups_hg = groups_pg.index_select(0, place_h)
    hit_hg = groups_hg >= least_n1[row_h]
    if hit_hg.count_nonzero() > len(tile_nm) * (4 * k + GROUP):
        floor_n = floor_n.maximum(_own_floor(tile_nm, error_n, k, dtype))
        hit_hg = groups_hg >= _least(floor_n, error_n, dtype)[row_h, None]
    h_c, g_c = hit_hg.nonzero(as_tuple=True)
    first_h = place_h * GROUP - row_h * tile_nm.shape[1]
    return row_h.index_select(0, h_c), first_h.index_select(0, h_c).add_(g_c)


def _own_floor(
    tile_nm: torch.Tensor, error_n: torch.Tensor, k: int, dtype: torch.dtype
) -> torch.Tensor:
    """Lower bound on the k-th largest exact product of a tile; -inf where it has fewer than k.

    The k-th largest of the maxima of some columns each, which are faster to order than all.
    """
    bins = max(GROUP, 4 * k)
    whole = tile_nm.shape[1] // bins * bins
    maxima = tile_nm[:, :whole].view(len(tile_nm), -1, bins).amax(dim=1) if whole else tile_nm
    if not len(tile_nm) or maxima.shape[1] < k:
        return torch.full_like(error_n, -torch.inf)
    kth_n = maxima.topk(k, dim=1, sorted=False).values.amin(dim=1).double()
    return kth_n - kth_n.abs() * _HALF_ULP[dtype] - error_n - 10.0**-DECIMALS


def _least(floor_n: torch.Tensor, error_n: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Coarse product that a row reaching the floor has at least, rounding being monotone.

    Products are clipped to [-1, 1]: all above are equal, and so are all below.
    """
    least_n = floor_n.clamp(max=1 - 2 * 10.0**-DECIMALS) - error_n
    least_n[floor_n <= -1 + 2 * 10.0**-DECIMALS] = -torch.inf
    return least_n.to(dtype).clamp(min=torch.finfo(dtype).min).float()


def _lengths(rows: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds on the lengths of the rows and of what their coarse form leaves out, float64."""
    lengths = torch.linalg.vector_norm(rows, dim=1).double() * 1.001
    if coarse.dtype == rows.dtype:
        return lengths, torch.zeros_like(lengths)
    rest = torch.linalg.vector_norm(rows - coarse.float(), dim=1).double()
    return lengths, rest * 1.001 + 1e-30


def _products(
    queries_nD: torch.Tensor, exact_MD: torch.Tensor, rows_c: torch.Tensor, columns_c: torch.Tensor
) -> torch.Tensor:
    """(c,) rounded float64 products of some pairs, ordered by row and column.

    Each is summed in the same order wherever it stands.
    """
    starts = torch.searchsorted(rows_c, torch.arange(len(queries_nD) + 1))
    pairs = torch.sparse_csr_tensor(
        starts,
        columns_c,
        torch.zeros(len(columns_c), dtype=torch.float64),
        (len(queries_nD), len(exact_MD)),
        check_invariants=False,
    )
    products: torch.Tensor = torch.sparse.sampled_addmm(
        pairs, queries_nD.double(), exact_MD.T
    ).values()
    return (products * 10.0**DECIMALS).round_().div_(10.0**DECIMALS).clamp_(-1.0, 1.0)


def _regular(blocks: Iterable[tuple[int, Vectors]], width: int) -> Iterator[tuple[Ids, Vectors]]:
    """Ids and rows of the blocks, BLOCK at a time."""
    waiting: list[tuple[Ids, Vectors]] = []
    num_waiting = next_id = 0
    for first_id, rows in blocks:
        if rows.shape[1] != width:
            raise ValueError(
                f"embeddings of {width} and {rows.shape[1]} dimensions cannot be "
                "compared; embed videos and texts with the same CLIP model"
            )
        if first_id < next_id:
            raise ValueError(
                f"a block begins with id {first_id} after id {next_id - 1}; give them in the "
                "order of their ids"
            )
        _check_finite("corpus row", first_id, rows)
        next_id = first_id + len(rows)
        for start in range(0, len(rows), BLOCK):
            piece = rows[start : start + BLOCK]
            if num_waiting + len(piece) > BLOCK:
                yield _joined(waiting)
                waiting, num_waiting = [], 0
            waiting.append((first_id + start + np.arange(len(piece)), piece))
            num_waiting += len(piece)
    if num_waiting:
        yield _joined(waiting)


def _joined(pieces: list[tuple[Ids, Vectors]]) -> tuple[Ids, Vectors]:
    ids, rows = zip(*pieces, strict=True)
    return np.concatenate(ids), np.concatenate(rows, dtype=np.float32)


def _check_finite(what: str, first: int, rows_ND: Vectors) -> None:
    for start in range(0, len(rows_ND), BLOCK):
        finite = np.isfinite(rows_ND[start : start + BLOCK]).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{what} {first + start + int(finite.argmin())} holds a value that is not finite; "
                "embed it again"
            )


def _finish(running: list[Future[None]]) -> None:
    for each in running:
        each.result()  # raises what a worker raised


def fastest(device: str) -> torch.dtype:
    """bfloat16 where oneDNN may use AMX (6 times the speed of float32; a fifth where it may not).

    The processor is asked, and oneDNN, which ONEDNN_MAX_CPU_ISA may hold back.
    """
    if device != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return torch.float32
    amx = torch.cpu.get_capabilities().get("amx_bf16")
    return torch.bfloat16 if amx and torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


@contextlib.contextmanager
def _workers() -> Iterator[Executor]:
    """As many threads as torch uses, each of which computes alone.

    Threads that wait for each other in every product took 3 times as long on a busy machine.
    """
    num_threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(num_threads, "search", torch.set_num_threads, (1,)) as workers:
            yield workers
    finally:
        torch.set_num_threads(num_threads)


@contextlib.contextmanager
def _whole_float32() -> Iterator[None]:
    """float32 products of float32 factors, whatever the process has allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
