"""The terminal: one console, progress bars; JSON for other programs."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import rich.progress
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from artifacts import jobs

LINE_INTERVAL_S = 30.0


console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


@cache
def say_once(text: str) -> None:
    """Print a line that later steps of the same work would only repeat."""
    console.print(text, style="yellow", markup=False, soft_wrap=True)


@contextmanager
def progress(what: str, interval_s: float = LINE_INTERVAL_S) -> Iterator[jobs.Progress]:
    """Yields a callback of (done, total); shows both, the rate and the time left.

    Args:
        what: is done.
        interval_s: between the lines that are printed where there is no terminal for a bar.
    """
    if not sys.stdout.isatty():
        yield _Lines(what, interval_s)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _RateColumn(ProgressColumn):
    """Things done per second, over the last seconds."""

    def render(self, task: rich.progress.Task) -> Text:
        """The rate; empty until something is done."""
        return Text(_per_second(task.speed) if task.speed else "")


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s"


class _Lines:
    """Progress as lines, for a log."""

    def __init__(self, what: str, interval_s: float) -> None:
        self._what, self._interval_s = what, interval_s
        self._started = self._last = time.monotonic()
        self._before: int | None = None
        """What an earlier run had done already."""

    def __call__(self, done: int, total: int) -> None:
        if self._before is None:
            self._before, self._started = done, time.monotonic()
        now = time.monotonic()
        if now - self._last < self._interval_s:
            return
        self._last = now
        rate = (done - self._before) / (now - self._started)
        line = f"{self._what}: {done} of {total}"
        if rate:
            left = timedelta(seconds=round((total - done) / rate))
            line += f", {_per_second(rate)}, {left} left"
        console.print(line)


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
