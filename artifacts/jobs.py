"""Jobs that make an artifact part by part: all at once, or beside other processes.

Processes meet in the artifact's draft. A part is in it complete or not at all and has the same
bytes whoever makes it, so nothing has to be agreed on and no finished part is made twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol

from artifacts.artifact import Outcome
from artifacts.draft import Draft
from artifacts.provenance import Provenance
from artifacts.store import Store

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is in total: videos, steps, requests."""


class PartedJob(Protocol):
    """How to make an artifact whose Parquet parts do not depend on each other."""

    @property
    def store(self) -> Store:
        """Where to publish."""

    @property
    def provenance(self) -> Provenance:
        """Of the artifact."""

    @property
    def num_parts(self) -> int:
        """Parts of the artifact; decided by the inputs alone, so that all processes agree."""

    def make(
        self, draft: Draft, part_numbers: Sequence[int], progress: Progress | None = None
    ) -> Counter[str]:
        """Make those parts that the draft does not have; the work that took."""

    def publish(self, draft: Draft, work: Counter[str], duration_s: float) -> Outcome:
        """Publish a draft that has all parts."""


def make_all(job: PartedJob, progress: Progress | None = None) -> Outcome:
    """Make all parts that are missing, alone, and publish.

    Raises:
        HeldError: another process is making this artifact.
        ValueError: as for the job's `make` and `publish`.
    """
    if found := job.store.find(job.provenance):
        return Outcome(found, made=False)
    started = time.monotonic()
    with closing(job.store.draft(job.provenance)) as draft:
        work = job.make(draft, range(job.num_parts), progress)
        return job.publish(draft, work, time.monotonic() - started)


def make_parts(
    job: PartedJob,
    part_numbers: Sequence[int],
    progress: Progress | None = None,
    *,
    alone: bool = False,
) -> Counter[str]:
    """Make those of some parts that are missing, without publishing; the work that took.

    Args:
        job: what to make.
        part_numbers: of the parts.
        progress: told how much is done.
        alone: refuse other processes meanwhile.

    Raises:
        HeldError: another process holds the draft, or one that makes all parts.
        ValueError: as for the job's `make`.
    """
    if job.store.find(job.provenance):
        return Counter()
    with closing(job.store.draft(job.provenance, shared=not alone)) as draft:
        return job.make(draft, part_numbers, progress)


def publish(job: PartedJob, work: Counter[str], duration_s: float) -> Outcome | None:
    """Publish if no part is missing.

    Args:
        job: whose parts were made.
        work: what the parts took, as far as the caller knows.
        duration_s: likewise.

    Returns:
        The artifact, also if another process has published it; None if a part is missing.

    Raises:
        HeldError: another process goes on making parts that are already there.
        ValueError: as for the job's `publish`.
    """
    if found := job.store.find(job.provenance):
        return Outcome(found, made=bool(work.total()), work=dict(work))
    with closing(job.store.draft(job.provenance, shared=True)) as draft:
        if _missing(job, draft):
            return None
        try:
            return job.publish(draft, work, duration_s)
        except ValueError:
            if found := job.store.find(job.provenance):  # by another process, at the same time
                return Outcome(found, made=bool(work.total()), work=dict(work))
            raise


def missing_parts(job: PartedJob) -> list[int]:
    """Numbers of the parts that are still to be made."""
    if job.store.find(job.provenance):
        return []
    with closing(job.store.draft(job.provenance, shared=True)) as draft:
        return _missing(job, draft)


def _missing(job: PartedJob, draft: Draft) -> list[int]:
    return [number for number in range(job.num_parts) if not draft.has(number)]
