"""The terminal: one console, progress bars; JSON for other programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Any

import typer
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


def print_json(document: dict[str, Any]) -> None:
    """One JSON document; dataclasses become objects, and what JSON has no number for null."""
    typer.echo(json.dumps(_plain(document), ensure_ascii=False, indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
