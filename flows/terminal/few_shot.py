"""What `actionlore few-shot` prints: accuracies over episodes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from artifacts.artifact import Artifact
from artifacts.views.few_shot import few_shot_accuracies
from artifacts.views.metrics import is_frozen
from flows.orchestration.console import console


def show_few_shot(metrics: Sequence[Artifact]) -> None:
    """One line per protocol and run, with the 95 % interval of the accuracy.

    Of a run that embeds as frozen CLIP does there is frozen CLIP's line only, which says so.
    """
    if not metrics:
        return
    table = Table("run", "protocol", "episodes", "accuracy %", "queries", box=None, pad_edge=False)
    for artifact in metrics:
        run = artifact.manifest.inputs["run"].ref.split("/")[1].split("@")[0]
        rows = few_shot_accuracies(artifact)
        if all(is_frozen(row.protocol) for row in rows):
            run += " (embeds as frozen CLIP)"
        for row in rows:
            table.add_row(
                run,
                row.protocol,
                f"{row.ways}-way {row.shots}-shot",
                f"{100 * row.accuracy:.2f} ± {100 * row.ci95:.2f}",
                f"{row.num_queries} of {row.split}",
            )
    console.print(table)
