"""Looking at artifacts: rows, strongest co-occurring pairs, where an artifact comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc

from artifacts.kinds import NEGATIVE_STATUS, schema_of
from artifacts.store import Artifact, Store

LONGEST_CELL = 60
HARDEST = 3
"""Negatives shown of each video."""


def rows(artifact: Artifact, limit: int) -> list[dict[str, str]]:
    """The first rows as text, tensors left out, class ids followed by the class name if known."""
    columns = [c.name for c in schema_of(artifact.manifest.kind).columns if not c.is_tensor]
    return [_cells(row) for row in artifact.read(columns).slice(0, limit).to_pylist()]


def strongest_pairs(artifact: Artifact, limit: int) -> list[dict[str, str]]:
    """Co-occurring class pairs, the most voted for first, with names and both directions' votes.

    Raises:
        ValueError: not a co-occurrence artifact.
    """
    if artifact.manifest.kind != "cooccurrence":
        raise ValueError(f"{artifact.ref} is not a co-occurrence artifact")
    names = class_names(artifact)
    table = artifact.read()
    table = table.filter(pc.not_equal(table["class_id"], table["other_id"]))
    pairs = {(row["class_id"], row["other_id"]): row for row in table.to_pylist()}
    order = sorted(
        pairs.values(),
        key=lambda row: (
            -row["votes"],
            -row["count"],
            row["mean_position"] or float("inf"),
            row["class_id"],
            row["other_id"],
        ),
    )
    shown = []
    for row in order[:limit]:
        back = pairs.get((row["other_id"], row["class_id"]), {}).get("votes", 0)
        shown.append(
            {
                "class": names.get(row["class_id"], str(row["class_id"])),
                "co-occurs with": names.get(row["other_id"], str(row["other_id"])),
                "votes": f"{row['votes']} of {row['rounds']}",
                "votes back": str(back),
                "place": _text(row["mean_position"]),
                "videos": str(row["count"]),
                "source": row["source"],
                "selected": "yes" if row["selected"] else "",
            }
        )
    return shown


def class_names(artifact: Artifact) -> dict[int, str]:
    """Names of the classes an artifact is about, found through its inputs; empty if unknown."""
    source = artifact.manifest.inputs.get("classes")
    if source is None:
        return {}
    table = artifact.store.get(source.ref).read(["class_id", "name"])
    return dict(zip(table["class_id"].to_pylist(), table["name"].to_pylist(), strict=True))


def lineage(
    store: Store, artifact: Artifact, role: str = "", depth: int = 0
) -> Iterator[tuple[int, str, str, Artifact | None]]:
    """The artifact and everything it was made from.

    Yields:
        Depth, role in the artifact above, ref, and the artifact (None when it is not in the store
        any more or was replaced by other content).
    """
    yield depth, role, str(artifact.ref), artifact
    for name, source in artifact.manifest.inputs.items():
        try:
            found: Artifact | None = store.get(source.ref)
        except ValueError:
            found = None
        if found and found.manifest.content_hash != source.content_hash:
            found = None
        if found:
            yield from lineage(store, found, name, depth + 1)
        else:
            yield depth + 1, name, source.ref, None


def negatives_of(artifact: Artifact, video_id: str, limit: int) -> list[dict[str, Any]]:
    """A video's candidates by falling cosine.

    Raises:
        ValueError: not a negatives artifact, or the video is not in it.
    """
    _require_negatives(artifact)
    table = artifact.read()
    table = table.filter(pc.equal(table["video_id"], video_id))
    if not table.num_rows:
        raise ValueError(f"{artifact.ref} has no video {video_id!r}")
    columns = ["rank", "dataset_rank", "name", "cosine", "margin", "cooccurrence_votes"]
    columns += ["status", "reason"]
    return [_cells(row) for row in table.select(columns).slice(0, limit).to_pylist()]


def candidates_by_status(artifact: Artifact) -> list[dict[str, str]]:
    """How many candidates were kept and what rejected the others, in the order of the tests."""
    counts = artifact.manifest.report.get("candidates", {})
    total = sum(counts.values())
    return [
        {
            "status": status,
            "candidates": str(counts[status]),
            "%": f"{100 * counts[status] / total:.1f}",
        }
        for status in NEGATIVE_STATUS
        if counts.get(status)
    ]


def nearest_negatives(artifact: Artifact, limit: int) -> list[dict[str, str]]:
    """The hardest negatives of the first videos, a line for each.

    Raises:
        ValueError: not a negatives artifact.
    """
    _require_negatives(artifact)
    lines: dict[str, dict[str, str]] = {}
    for part in artifact.parts(["video_id", "rank", "name", "cosine", "status"]):
        first = pc.unique(part["video_id"]).slice(0, limit - len(lines))
        for row in part.filter(pc.is_in(part["video_id"], first)).to_pylist():
            empty = {"video": row["video_id"], "own class": "", "hardest negatives": ""}
            line = lines.setdefault(row["video_id"], empty)
            text = f"{_text(row['name'])} {row['cosine']:.3f}"
            if row["status"] == "own_class":
                line["own class"] = text
            elif row["rank"] and row["rank"] <= HARDEST:
                line["hardest negatives"] += ", " * (row["rank"] > 1) + text
        if len(lines) == limit:
            break
    return list(lines.values())


def accuracies(artifact: Artifact) -> list[dict[str, str]]:
    """Top-1 and top-5, or mAP, of each protocol in per cent, and the number of videos.

    Raises:
        ValueError: not a metrics artifact.
    """
    if artifact.manifest.kind != "metrics":
        raise ValueError(f"{artifact.ref} is not a metrics artifact")
    rows: dict[str, dict[str, str]] = {}
    for row in artifact.read().to_pylist():
        shown = rows.setdefault(row["protocol"], {"protocol": row["protocol"]})
        shown["frozen"] = "yes" if row["protocol"].startswith("zero_shot") else ""
        if row["metric"] in ("top1", "top5", "map"):
            shown[row["metric"]] = f"{100 * row['value']:.1f}"
            shown["videos"] = f"{row['num_videos']} of {row['split']}"
    return list(rows.values())


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, without a final line end."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _require_negatives(artifact: Artifact) -> None:
    if artifact.manifest.kind != "negatives":
        raise ValueError(f"{artifact.ref} is not a negatives artifact")


def _cells(row: dict[str, Any]) -> dict[str, str]:
    return {name: _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(_text(each) for each in value[:4])
        return shown + (", ..." if len(value) > 4 else "")
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 3] + "..."
