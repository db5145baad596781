"""Where the shards of a job run: in this process, or on the workers of a Dask or Ray cluster.

A shard is a group of an artifact's parts. A part is in the draft as soon as it is made, so a shard
that is run again after its worker was lost skips what is there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from artifacts.artifact import Outcome
from artifacts.files import HeldError
from artifacts.jobs import PartedJob, missing_parts, publish
from flows.orchestration.clusters import Run, Work
from flows.orchestration.console import console, progress
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.specs.runner import RunnerSpec


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
