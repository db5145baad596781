"""Where shards run."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from flows.orchestration import clusters
from flows.orchestration.clusters import Run

MAX_SHARDS = 500
"""Per job; the schedulers of the clusters stay quick with some hundreds."""


class RunnerSpec(Frozen):
    """Where shards run."""

    runner: Literal["local", "dask", "ray"] = "local"
    """`local`: this process, on all its cores; or a cluster, where each shard takes one core."""
    address: str | None = None
    """Scheduler of an existing cluster; if omitted one is started here for the job."""
    num_workers: int | None = Field(None, ge=1)
    """Workers of a cluster that is started here; if omitted one per core."""
    parts_per_shard: int = Field(4, ge=1)
    """Of a cluster's shard, so that a slow worker does not keep the others waiting at the end."""
    shard: tuple[int, int] | None = None
    """Only the i-th of n shards (i from 1), for a scheduler of your own."""

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        if self.shard and not 1 <= self.shard[0] <= self.shard[1]:
            raise ValueError(f"shard {self.shard[0]}/{self.shard[1]}: write i/n with 1 <= i <= n")
        if self.runner == "local" and (self.address or self.num_workers):
            raise ValueError("address and num_workers have no effect without runner dask or ray")
        if self.address and self.num_workers:
            raise ValueError(f"num_workers has no effect: {self.address} has its own workers")
        if self.shard and self.runner != "local":
            raise ValueError("a single shard runs here; leave out the runner")
        return self

    @property
    def is_cluster(self) -> bool:
        """Whether tasks run in other processes."""
        return self.runner != "local"

    @property
    def is_alone(self) -> bool:
        """Whether one call makes all parts."""
        return not (self.is_cluster or self.shard)

    def shards(self, num_parts: int) -> list[list[int]]:
        """Part numbers of each shard; what is in no list is none of this call's business."""
        if self.shard:
            i, n = self.shard
            return [list(range(i - 1, num_parts, n))]
        size = self.parts_per_shard if self.is_cluster else num_parts
        size = max(size, -(-num_parts // MAX_SHARDS))
        return [
            list(range(start, min(start + size, num_parts))) for start in range(0, num_parts, size)
        ]

    def cluster(self) -> AbstractContextManager[Run]:
        """The cluster; entering it starts one, or connects to it.

        Raises:
            ValueError: its package is not installed.
        """
        start = clusters.dask if self.runner == "dask" else clusters.ray
        return start(self.address, self.num_workers or os.cpu_count() or 1)

    def shared_store(self, store: str) -> str:
        """The store as the workers see it.

        Raises:
            ValueError: it is no directory, which is where shards meet.
        """
        if self.is_alone:
            return store
        from artifacts.store import Store

        opened = Store(store)
        if not opened.is_local:
            raise ValueError(
                f"store {store!r}: shards meet in its drafts, which need a directory that all "
                "workers share; mine into one, or leave out --runner and --shard"
            )
        return str(Path(opened.root).absolute())
