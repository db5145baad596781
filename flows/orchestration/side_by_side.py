"""Flows in processes of their own, several at a time.

Small models train faster side by side, each on one core, than one after the other on all of them:
threads of one operation wait for each other, and for whatever else runs on the machine.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from artifacts.processes import import_environment_set
from flows.orchestration.console import console, progress
from knowledge.video.workers import be_worker

Made = TypeVar("Made")


def side_by_side(
    work: Callable[..., Made], arguments: Sequence[tuple[Any, ...]], at_once: int, what: str
) -> list[Made]:
    """Call a function of a module in other processes, each of which has one core.

    The first call that fails ends all others.

    Args:
        work: the function; a flow is recorded as a run of its own.
        arguments: of each call.
        at_once: calls at a time.
        what: is done, as the progress names it.

    Returns:
        What the calls gave, in order.
    """
    with (
        import_environment_set(),
        ProcessPoolExecutor(
            min(at_once, len(arguments)), multiprocessing.get_context("spawn"), _alone
        ) as pool,
        progress(what) as advance,
    ):
        futures = [pool.submit(work, *each) for each in arguments]
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                advance(done, len(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()  # the pool would wait for the calls under way
            raise
        return [future.result() for future in futures]


def _alone() -> None:
    """Make a process one of several at work: one core, and no progress of its own."""
    be_worker()
    console.quiet = True
