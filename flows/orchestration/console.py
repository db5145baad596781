"""The terminal: one console, progress bars."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from artifacts import jobs

LINE_INTERVAL_S = 30.0


console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@contextmanager
def progress(what: str) -> Iterator[jobs.Progress]:
    """A bar on a terminal, a line every 30 s elsewhere; yields a callback of (done, total)."""
    if not sys.stdout.isatty():
        last = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_INTERVAL_S:
                last = time.monotonic()
                console.print(f"{what}: {done} of {total}")

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
