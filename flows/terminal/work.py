"""What a task hands on and shows: a ref and the work done, never data."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from artifacts.store import Artifact, Outcome, Store
from artifacts.views.lineage import accuracies

LINE_INTERVAL_S = 30.0
NOTES_LENGTH = 150
COUNTED = {
    "llm_calls": "LLM calls",
    "videos_decoded": "videos decoded",
    "frames_encoded": "frames encoded",
    "texts_encoded": "texts encoded",
    "epochs": "training epochs",
}
"""Work that costs money or time, always reported, also when it is zero."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


class Step(BaseModel):
    """One finished job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ref: str
    num_rows: int
    made: bool
    """False when it was found by its key."""
    work: dict[str, int] = {}
    notes: dict[str, str] = {}
    """What the job reported."""

    @property
    def kind(self) -> str:
        """Kind of the artifact."""
        return self.ref.split("/")[0]


def step(outcome: Outcome) -> Step:
    """Summary of a job's outcome; the artifact itself stays in the store."""
    manifest = outcome.artifact.manifest
    notes = {name: _plain(value) for name, value in manifest.report.items()}
    return Step(
        ref=str(outcome.artifact.ref),
        made=outcome.made,
        num_rows=manifest.num_rows,
        work=dict(outcome.work),
        notes={name: text for name, text in notes.items() if text},
    )


def show_accuracies(metrics: Sequence[Artifact]) -> None:
    """One line per protocol and run; frozen CLIP's, the same in many runs, come once."""
    if not metrics:
        return
    table = Table(
        "run", "protocol", "top-1 %", "top-5 %", "mAP %", "videos", box=None, pad_edge=False
    )
    seen = set()
    for artifact in metrics:
        for row in accuracies(artifact):
            run = "frozen CLIP" if row["frozen"] else artifact.manifest.name
            cells = [row.get(name, "") for name in ("protocol", "top1", "top5", "map", "videos")]
            if (run, *cells) not in seen:
                seen.add((run, *cells))
                table.add_row(run, *cells)
    console.print(table)


def name_of(made: Step) -> str:
    """NAME@KEY of an artifact."""
    return made.ref.split("/", 1)[1]


def show_steps(steps: Sequence[Step], store: str) -> None:
    """Print the artifacts with their reports, the total work, and accuracies if there are any."""
    show_work(steps)
    show_accuracies([Store(store).get(each.ref) for each in steps if each.kind == "metrics"])


def show_work(steps: Sequence[Step]) -> None:
    """Print the artifacts with their reports and the total work."""
    total = Counter[str]()
    for each in steps:
        total.update(each.work)
        state = "[green]made [/green]" if each.made else "[dim]found[/dim]"
        console.print(f"{state} [bold]{each.ref}[/bold]  {each.num_rows} rows")
        notes = "; ".join(f"{name} {value}" for name, value in each.notes.items())
        console.print(f"      {notes[:NOTES_LENGTH]}", style="dim", markup=False)
    line = ", ".join(f"{total[name]} {words}" for name, words in COUNTED.items())
    console.print(f"Work done: {line}.")
    if steps and not any(each.made for each in steps):
        console.print("Every artifact was found by its key: nothing had to be done.")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
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


def _plain(value: object) -> str:
    """Text of a count or a table of counts; empty for what is zero, empty or not a count."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, each in value.items() if (text := _plain(each)))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int | str) and value else ""
