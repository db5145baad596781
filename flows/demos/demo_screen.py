"""What the demo found, on one screen; the rest is in its report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from artifacts.artifact import Artifact
from artifacts.store import Store
from artifacts.views.metrics import Accuracy, accuracies
from artifacts.views.negatives import negatives_of
from flows.demos.demo_report import (
    CONTEXTS,
    PARTNER_RANK,
    by_kind,
    context,
    partner_found,
    program,
    shown_videos,
    uncertainty,
)
from flows.orchestration.console import console
from flows.orchestration.report import JobReport
from flows.terminal.cells import percent
from knowledge.stickworld.classes import CLASSES, pairs_by_reason
from training.evaluation.tables.pairs import mean_pair_accuracy

FROZEN = "zero_shot/prompt"
"""Frozen CLIP's protocol that is shown; the other is in the report."""


def show(store: Store, reports: Sequence[JobReport], report: Path, picture: Path) -> None:
    """Print accuracies, some hard negatives, and how to go on, in at most 40 lines.

    Args:
        store: holds the artifacts.
        reports: jobs of the demo.
        report: file with the whole report.
        picture: file with the hard negatives as frames.
    """
    made = by_kind(store, reports)
    negatives, videos = made["negatives"][0], made["videos"][0]
    console.print("\n[bold]What the demo found[/bold]", highlight=False)
    num_made = sum(each.made for each in reports)
    _say(
        f"{videos.manifest.num_rows} videos of {len(CLASSES)} actions; {len(reports)} artifacts, "
        f"{num_made} of them made now.\n"
    )
    console.print(_accuracies(made))
    _say(f"\n{CONTEXTS}\n{uncertainty(made['metrics'])}")
    _say(
        "Time pairs (open a door / close a door) differ in the order of frames alone, posture "
        "pairs\n(drink from a cup / talk on the phone) in a detail: test videos told apart; "
        "guessing: 50 %.\n"
    )
    _say(
        f"Of the training videos of such pairs {percent(partner_found(negatives))} % have the "
        f"other class among\ntheir {PARTNER_RANK} hardest negatives (drawn at random: "
        f"{percent(PARTNER_RANK / (len(CLASSES) - 1))} %). The first video of each pair:"
    )
    console.print(_nearest(negatives))
    _say(f"\nThe same as frames: {picture}\nAll tables, and all that was made: {report}\n")
    _say(f"Go on:\n  export ACTIONLORE_STORE={shlex.quote(store.root)}")
    for command in (
        f"inspect negatives/stickworld --video {shown_videos(negatives)[0]}",
        "inspect cooccurrence/stickworld      # what the LLM said",
        f"inspect lineage {made['training_run'][-1].ref}",
        "reproduce mgdm                       # over seeds, and all variants: hours",
        "pipeline --help                      # on your own videos",
    ):
        _say(f"  {program()} {command}")


def _say(text: str) -> None:
    """Print a text as it is, so that paths and commands can be copied."""
    console.print(text, markup=False, soft_wrap=True)


def _accuracies(made: dict[str, list[Artifact]]) -> Table:
    """Frozen CLIP and each run in each context: accuracy, and pairs told apart."""
    table = Table("test videos, %", box=None, pad_edge=False)
    for title in ("top-1", "top-5", "time pairs", "posture pairs"):
        table.add_column(title, justify="right")
    pairs = pairs_by_reason()
    for number, (metrics, predictions, run) in enumerate(
        zip(made["metrics"], made["predictions"], made["training_run"], strict=True)
    ):
        told_apart = mean_pair_accuracy(predictions, pairs)
        rows = {each.protocol: each for each in accuracies(metrics)}
        shown = {"frozen CLIP": FROZEN} if number == 0 else {}
        shown |= {
            f"{_name(run)}, {context(protocol)}": protocol
            for protocol, row in rows.items()
            if not row.is_frozen
        }
        for name, protocol in shown.items():
            groups = (told_apart[protocol, group] for group in pairs)
            table.add_row(name, *_shares(rows[protocol]), *map(percent, groups))
    return table


def _shares(row: Accuracy) -> tuple[str, str]:
    return percent(row.values.get("top1")), percent(row.values.get("top5"))


def _name(run: Artifact) -> str:
    k = run.manifest.config["model"]["negatives"]["k"]
    return f"MGDM, {k} hard negatives a video" if k else "MGDM, no hard negatives"


def _nearest(negatives: Artifact) -> Table:
    """The shown videos with their hardest negatives."""
    table = Table("a video of", f"its {PARTNER_RANK} hardest negatives", box=None, pad_edge=False)
    for video_id in shown_videos(negatives):
        candidates = negatives_of(negatives, video_id, 8)
        own = next((each.name for each in candidates if each.status == "own_class"), video_id)
        kept = [each for each in candidates if each.status == "kept"][:PARTNER_RANK]
        table.add_row(own, ", ".join(each.name for each in kept))
    return table
