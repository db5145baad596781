"""What the demo found, as Markdown: accuracies, the pairs built to be confused, hard negatives."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from artifacts.artifact import Artifact
from artifacts.store import Store
from artifacts.views.metrics import accuracies
from artifacts.views.negatives import negatives_of
from flows.orchestration.report import JobReport
from flows.terminal.cells import markdown_table, of_split, percent
from knowledge.stickworld.classes import CLASSES, pairs_by_reason
from training.evaluation.tables.pairs import pair_accuracy

PARTNER_RANK = 3
"""How far down a video's hard negatives its partner class is looked for."""


def report(store: Store, reports: Sequence[JobReport]) -> str:
    """The report of a finished demo.

    Args:
        store: holds the artifacts.
        reports: jobs of the demo; negatives, metrics and predictions are read.
    """
    made: dict[str, list[Artifact]] = {}
    for each in reports:
        made.setdefault(each.kind, []).append(store.get(each.ref))
    negatives = made["negatives"][0]
    video_ids = list(dict.fromkeys(negatives.read(["video_id"])["video_id"].to_pylist()))
    return "\n\n".join(
        [
            "# What the demo found",
            "## Accuracy on the test videos",
            _accuracies(made["metrics"]),
            "## Pairs of actions built to be confused",
            "Share of a pair's test videos whose own class comes before the other; guessing gives "
            "50 %. Frozen CLIP sees frames without their order, so pairs that differ in time alone "
            "are out of its reach.",
            _pairs(made["predictions"]),
            "## Hard negatives",
            f"The other class of such a pair is among the {PARTNER_RANK} hardest negatives of "
            f"{100 * partner_found(negatives):.1f} % of its videos. The nearest of two videos:",
            *(
                f"* `{video_id}`: {_nearest(negatives, video_id)}"
                for video_id in (video_ids[0], video_ids[len(video_ids) // 2])
            ),
            "## Where to look next",
            "```sh\n"
            + "\n".join(
                f"{_program()} {command} --store {shlex.quote(store.root)}"
                for command in (
                    "inspect cooccurrence/stickworld",
                    f"inspect negatives/stickworld --video {video_ids[0]}",
                    f"inspect lineage {made['training_run'][-1].ref}",
                    "inspect list",
                )
            )
            + "\n```\n",
        ]
    )


def _program() -> str:
    """How the command was called, if this was it."""
    called = sys.argv[0]
    return shlex.quote(called) if Path(called).name == "actionlore" else "actionlore"


def partner_found(negatives: Artifact) -> float:
    """Share of the videos of paired classes whose partner is among their hardest negatives."""
    pairs = [pair for group in pairs_by_reason().values() for pair in group]
    partner = dict(pairs) | {second: first for first, second in pairs}
    table = negatives.read(["video_id", "class_id", "dataset_rank", "status"]).to_pylist()
    own = {row["video_id"]: row["class_id"] for row in table if row["status"] == "own_class"}
    hardest: dict[str, set[int]] = {video_id: set() for video_id in own}
    for row in table:
        if row["dataset_rank"] is not None and row["dataset_rank"] <= PARTNER_RANK:
            hardest[row["video_id"]].add(row["class_id"])
    found = [partner[own[v]] in hardest[v] for v in own if own[v] in partner]
    return sum(found) / len(found)


def _accuracies(metrics: Sequence[Artifact]) -> str:
    lines = {
        ("frozen CLIP" if row.is_frozen else artifact.manifest.name, row.protocol): [
            percent(row.values["top1"]),
            percent(row.values["top5"]),
            of_split(row),
        ]
        for artifact in metrics
        for row in accuracies(artifact)
    }
    head = ["run", "protocol", "top-1 %", "top-5 %", "videos"]
    return markdown_table(head, [[*names, *values] for names, values in lines.items()])


def _pairs(predictions: Sequence[Artifact]) -> str:
    names = {entry.class_id: entry.name for entry in CLASSES}
    runs = [each.manifest.name.removesuffix("-test") for each in predictions]
    lines = []
    for group, pairs in pairs_by_reason().items():
        found = [pair_accuracy(each, pairs) for each in predictions]
        columns = [found[0]["zero_shot/prompt"], *(each["mgdm/all"] for each in found)]
        rows = {f"{names[a]} / {names[b]}": [c[a, b] for c in columns] for a, b in pairs}
        rows[f"**mean of {group.replace('_', ' ')}**"] = [
            sum(column.values()) / len(column) for column in columns
        ]
        lines += [[title, *(f"{100 * v:.0f}" for v in row)] for title, row in rows.items()]
    return markdown_table(["told apart, %", "frozen CLIP", *runs], lines)


def _nearest(negatives: Artifact, video_id: str) -> str:
    kept = [row for row in negatives_of(negatives, video_id, 8) if row.status == "kept"]
    return ", ".join(f"{row.name} ({row.cosine:.4g})" for row in kept[:5])
