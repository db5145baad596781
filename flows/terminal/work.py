"""What the jobs of a command made and found, the work it took, and accuracies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from artifacts.artifact import Artifact, ReadableStore
from artifacts.provenance import ArtifactRef
from artifacts.store import Store
from artifacts.views.few_shot import is_few_shot
from artifacts.views.metrics import accuracies
from flows.orchestration.console import console
from flows.orchestration.report import JobReport
from flows.terminal.cells import metric_title, of_split, percent
from flows.terminal.few_shot import show_few_shot
from flows.terminal.next_steps import next_steps

NOTES_LENGTH = 150
COUNTED = {
    "llm_calls": "LLM calls",
    "videos_decoded": "videos decoded",
    "frames_encoded": "frames encoded",
    "texts_encoded": "texts encoded",
    "epochs": "training epochs",
}
"""Work that costs money or time, always reported, also when it is zero."""


def show_accuracies(metrics: Sequence[Artifact]) -> None:
    """One line per protocol and run; frozen CLIP's, the same in many runs, come once."""
    if not metrics:
        return
    found = [(each, row) for each in metrics for row in accuracies(each)]
    names = list(dict.fromkeys(name for _, row in found for name in row.values))
    titles = [f"{metric_title(name)} %" for name in names]
    table = Table("run", "protocol", *titles, "videos", box=None, pad_edge=False)
    seen = set()
    for artifact, row in found:
        run = "frozen CLIP" if row.is_frozen else artifact.manifest.name
        cells = [row.protocol, *(percent(row.values.get(name)) for name in names), of_split(row)]
        if (run, *cells) not in seen:
            seen.add((run, *cells))
            table.add_row(run, *cells)
    console.print(table)


def show_metrics(metrics: Sequence[Artifact]) -> None:
    """Accuracies of splits, then those of episodes."""
    show_accuracies([each for each in metrics if not is_few_shot(each)])
    show_few_shot([each for each in metrics if is_few_shot(each)])


def show_reports(reports: Sequence[JobReport], store: str) -> None:
    """Print the artifacts with their reports, the work, accuracies if any, and what comes next."""
    show_work(reports, Store(store))
    show_metrics([Store(store).get(each.ref) for each in reports if each.kind == "metrics"])
    for number, step in enumerate(next_steps(reports, store)):
        console.print(f"{'      ' if number else 'Next: '}{step}", markup=False, soft_wrap=True)


def show_work(reports: Sequence[JobReport], store: Store) -> None:
    """Print the artifacts with their reports and what they were made from, and the total work."""
    shown = {each.ref for each in reports}
    for each in reports:
        state = "[green]made [/green]" if each.made else "[dim]found[/dim]"
        console.print(f"{state} [bold]{each.ref}[/bold]  {each.num_rows} rows")
        console.print(f"      {notes_of(each)}", style="dim", markup=False)
        if read := {role: ref for role, ref in each.read.items() if ref not in shown}:
            shown.update(read.values())
            text = ", ".join(f"{role} {named(store, ref)}" for role, ref in read.items())
            console.print(f"      read {text}", markup=False, soft_wrap=True)
    console.print(total_work(reports))
    if reports and not any(each.made for each in reports):
        console.print("Every artifact was found by its key: nothing had to be done.")


def named(store: ReadableStore, ref: str) -> str:
    """A ref, and how many others its name alone could have meant."""
    others = store.num_named(ArtifactRef.parse(ref)) - 1
    return f"{ref} (of that name there are {others + 1})" if others > 0 else ref


def notes_of(report: JobReport) -> str:
    """What a job reported, on one line."""
    return "; ".join(f"{name} {value}" for name, value in report.notes.items())[:NOTES_LENGTH]


def total_work(reports: Sequence[JobReport]) -> str:
    """The work of all jobs together, as a sentence."""
    total = Counter[str]()
    for each in reports:
        total.update(each.work)
    return f"Work done: {', '.join(f'{total[name]} {words}' for name, words in COUNTED.items())}."
