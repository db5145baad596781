"""Where the shards of a job run: in this process, or on the workers of a Dask or Ray cluster.

A shard is a group of an artifact's parts. A part is in the draft as soon as it is made, so a shard
that is run again after its worker was lost skips what is there.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from artifacts.artifact import Outcome
from artifacts.files import HeldError
from artifacts.frozen import Frozen
from artifacts.jobs import PartedJob, missing_parts, publish
from artifacts.store import Store
from flows.orchestration import clusters
from flows.orchestration.clusters import Run, Work
from flows.orchestration.console import console, progress
from flows.orchestration.report import JobReport, job_report

MAX_SHARDS = 500
"""Per job; the schedulers of the clusters stay quick with some hundreds."""

PARTS_PER_SHARD = 4
"""On a cluster, so that a slow worker does not keep the others waiting at the end."""


class RunnerSpec(Frozen):
    """Where shards run."""

    runner: Literal["local", "dask", "ray"] = "local"
    """This process, on all its cores; or a cluster, where each shard takes one core."""
    address: str | None = None
    """Scheduler of an existing cluster; one is started here for the job when None."""
    num_workers: int | None = Field(None, ge=1)
    """Workers of the cluster that is started here; the number of cores when None."""
    shard: tuple[int, int] | None = None
    """Only shard i of n (1 <= i <= n), for schedulers of one's own."""

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
        size = PARTS_PER_SHARD if self.is_cluster else num_parts
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
        opened = Store(store)
        if not opened.is_local:
            raise ValueError(
                f"store {store!r}: shards meet in its drafts, which need a directory that all "
                "workers share; mine into one, or leave out --runner and --shard"
            )
        return str(Path(opened.root).absolute())


class Workers:
    """What runs the shards of a flow; a cluster is started when the first shard needs it."""

    def __init__(self, spec: RunnerSpec) -> None:
        self.spec = spec
        self._stack = ExitStack()
        self._cluster: Run | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the cluster, if one was started here."""
        self._stack.close()

    def run(self, work: Work, shards: Sequence[Mapping[str, Any]], what: str) -> Counter[str]:
        """Call a function with the arguments of each shard; the work that took."""
        total = Counter[str]()
        if not self.spec.is_cluster:
            for each in shards:
                total.update(work(**each))
            return total
        if self._cluster is None:
            self._cluster = self._stack.enter_context(self.spec.cluster())
        with progress(what) as advance:
            for done, made in enumerate(self._cluster(work, shards), start=1):
                total.update(made)
                advance(done, len(shards))
        return total


def run_job(
    workers: Workers, job: PartedJob, work: Work, what: str, **arguments: Any
) -> JobReport | None:
    """Make an artifact, each shard by `work(part_numbers=..., **arguments)`.

    Returns:
        What was made or found; None if other shards have yet to make parts or are just publishing,
        which is printed.
    """
    if found := job.store.find(job.provenance):
        return job_report(Outcome(found, made=False))
    started = time.monotonic()
    shards = [{**arguments, "part_numbers": each} for each in workers.spec.shards(job.num_parts)]
    try:
        done = workers.run(work, shards, what)
        if outcome := publish(job, done, time.monotonic() - started):
            return job_report(outcome)
        missing = missing_parts(job)
    except HeldError as error:
        if not workers.spec.shard:
            raise
        console.print(str(error))
        return None
    console.print(
        f"{job.provenance.ref}: {len(missing)} of {job.num_parts} parts are missing "
        f"({listed(missing)}); run the other shards, then this one again"
    )
    return None


def listed(numbers: Sequence[int]) -> str:
    """Rising numbers, the first and last of each run of them: `0-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs)
