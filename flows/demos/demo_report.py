"""What the demo found, as Markdown: accuracies, the pairs built to be confused, hard negatives."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from artifacts.artifact import Artifact
from artifacts.store import Store
from artifacts.views.metrics import accuracies, is_frozen
from artifacts.views.negatives import negatives_of
from flows.orchestration.report import JobReport
from flows.terminal.cells import markdown_table, of_split, percent
from flows.terminal.work import notes_of, total_work
from knowledge.mining.contact_sheet import contact_sheet
from knowledge.stickworld.classes import CLASSES, pairs_by_reason
from training.evaluation.tables.pairs import pair_accuracy

PARTNER_RANK = 3
"""How far down a video's hard negatives its partner class is looked for."""
CONTEXTS = (
    "At test MGDM's discriminator sees each class alone (self), with its nearest classes "
    "(neighbours)\nor with all. Of each run the first is what it was trained on: one text, or one "
    "and its negatives."
)


def report(store: Store, reports: Sequence[JobReport], picture: str) -> str:
    """The report of a finished demo.

    Args:
        store: holds the artifacts.
        reports: jobs of the demo; negatives, metrics and predictions are read.
        picture: file name of `draw_picture`'s.
    """
    made = by_kind(store, reports)
    negatives = made["negatives"][0]
    video_ids = shown_videos(negatives)
    commands = (
        "inspect cooccurrence/stickworld",
        f"inspect negatives/stickworld --video {video_ids[0]}",
        f"inspect lineage {made['training_run'][-1].ref}",
        "inspect list",
    )
    where = f"--store {shlex.quote(store.root)}"
    return "\n\n".join(
        [
            "# What the demo found",
            "## Accuracy on the test videos",
            _accuracies(made["metrics"]),
            CONTEXTS,
            uncertainty(made["metrics"]),
            "## Pairs of actions built to be confused",
            "Share of a pair's test videos whose own class comes before the other; guessing gives "
            "50 %. Frozen CLIP sees frames without their order, so pairs that differ in time alone "
            "are out of its reach.",
            _pairs(made["predictions"]),
            "## Hard negatives",
            f"The other class of such a pair is among the {PARTNER_RANK} hardest negatives of "
            f"{100 * partner_found(negatives):.1f} % of its videos. The nearest of some videos:",
            "\n".join(f"* `{each}`: {_nearest(negatives, each)}" for each in video_ids),
            f"![hard negatives]({picture})",
            "## What was made",
            "\n".join(
                f"* {'made' if each.made else 'found'} `{each.ref}`, {each.num_rows} rows: "
                f"{notes_of(each)}"
                for each in reports
            ),
            total_work(reports),
            "## Where to look next",
            "```sh\n" + "\n".join(f"{program()} {each} {where}" for each in commands) + "\n```\n",
        ]
    )


def draw_picture(path: Path, store: Store, reports: Sequence[JobReport], videos: Path) -> None:
    """The hard negatives of `shown_videos` as a PNG, the other class of a pair framed in red.

    Args:
        path: of the picture.
        store: holds the artifacts.
        reports: jobs of the demo.
        videos: directory of the videos.
    """
    made = by_kind(store, reports)
    negatives = made["negatives"][0]
    given = (path, negatives, made["videos"][0], videos, shown_videos(negatives))
    caption = "In red: the other class of a pair that was built to be confused."
    contact_sheet(*given, _partner(), caption)


def by_kind(store: Store, reports: Sequence[JobReport]) -> dict[str, list[Artifact]]:
    """The artifacts of a demo."""
    made: dict[str, list[Artifact]] = {}
    for each in reports:
        made.setdefault(each.kind, []).append(store.get(each.ref))
    return made


def shown_videos(negatives: Artifact) -> list[str]:
    """The first video of the first class of each pair built to be confused, none picked by hand."""
    pairs = [pair for group in pairs_by_reason().values() for pair in group]
    table = negatives.read(["video_id", "class_id", "status"]).to_pylist()
    first: dict[int, str] = {}
    for row in table:
        if row["status"] == "own_class":
            first.setdefault(row["class_id"], row["video_id"])
    return [first[own] for own, _ in pairs if own in first]


def uncertainty(metrics: Sequence[Artifact]) -> str:
    """How far the accuracies of two single runs may differ by chance."""
    row = accuracies(metrics[0])[0]
    share, count = row.values.get("top1", 0.0), row.num_videos or 1
    error = 100 * math.sqrt(share * (1 - share) / count)
    return (
        f"Of each run there is one seed; at {percent(share)} % of {count} videos the standard "
        f"error is {error:.1f} points."
    )


def program() -> str:
    """How the command was called, if this was it."""
    called = sys.argv[0]
    return shlex.quote(called) if Path(called).name == "actionlore" else "actionlore"


def partner_found(negatives: Artifact) -> float:
    """Share of the videos of paired classes whose partner is among their hardest negatives."""
    partner = _partner()
    table = negatives.read(["video_id", "class_id", "dataset_rank", "status"]).to_pylist()
    own = {row["video_id"]: row["class_id"] for row in table if row["status"] == "own_class"}
    hardest: dict[str, set[int]] = {video_id: set() for video_id in own}
    for row in table:
        if row["dataset_rank"] is not None and row["dataset_rank"] <= PARTNER_RANK:
            hardest[row["video_id"]].add(row["class_id"])
    found = [partner[own[v]] in hardest[v] for v in own if own[v] in partner]
    return sum(found) / len(found)


def _partner() -> dict[int, int]:
    """Class id -> the other class of its pair."""
    pairs = [pair for group in pairs_by_reason().values() for pair in group]
    return dict(pairs) | {second: first for first, second in pairs}


def context(protocol: str) -> str:
    """The texts that MGDM's discriminator sees together at test, of its protocol's name."""
    return protocol.rpartition("/")[2]


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
    head, lines = list[str](), []
    for group, pairs in pairs_by_reason().items():
        found = {each.manifest.name: pair_accuracy(each, pairs) for each in predictions}
        columns = [next(iter(found.values()))["zero_shot/prompt"]]
        head = ["told apart, %", "frozen CLIP"]
        for name, by_protocol in found.items():
            own = [each for each in by_protocol if not is_frozen(each)]
            columns += [by_protocol[each] for each in own]
            head += [f"{name.removesuffix('-test')}, {context(each)}" for each in own]
        rows = {f"{names[a]} / {names[b]}": [c[a, b] for c in columns] for a, b in pairs}
        rows[f"**mean of {group.replace('_', ' ')}**"] = [
            sum(column.values()) / len(column) for column in columns
        ]
        lines += [[title, *(f"{100 * v:.0f}" for v in row)] for title, row in rows.items()]
    return markdown_table(head, lines)


def _nearest(negatives: Artifact, video_id: str) -> str:
    kept = [row for row in negatives_of(negatives, video_id, 8) if row.status == "kept"]
    return ", ".join(f"{row.name} ({row.cosine:.4g})" for row in kept[:5])
