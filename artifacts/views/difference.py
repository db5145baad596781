"""What changed between two artifacts of one kind, for people."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.kinds import schema_of
from artifacts.provenance import Manifest
from artifacts.views.rows import class_names

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Difference:
    """Facts, and tables by title; a table without rows is left out."""

    facts: dict[str, str]
    tables: dict[str, Rows] = field(default_factory=dict)


def compare(before: Artifact, after: Artifact, limit: int) -> Difference:
    """What differs: of negatives and co-occurrence their content, of all kinds manifest and rows.

    Args:
        before: the earlier artifact.
        after: the later one.
        limit: rows of each table.

    Raises:
        ValueError: they are of different kinds.
    """
    kinds = before.manifest.kind, after.manifest.kind
    if kinds[0] != kinds[1]:
        raise ValueError(f"{before.ref} and {after.ref} are of different kinds; give two of one")
    manifests = _manifests(before.manifest, after.manifest)
    if before.manifest.content_hash == after.manifest.content_hash:
        return Difference({"content": "the same"}, manifests)
    if kinds[0] == "negatives":
        found = _negatives(before, after, limit)
    elif kinds[0] == "cooccurrence":
        found = _pairs(before, after, limit)
    else:
        found = Difference(_keys(before, after))
    return Difference(found.facts, {**manifests, **found.tables})


def _manifests(before: Manifest, after: Manifest) -> dict[str, Rows]:
    """Settings and inputs that differ."""
    flat = [
        _flat("config", each.config)
        | {f"input {role}": f"{item.ref}" for role, item in each.inputs.items()}
        | {"schema version": str(each.schema_version)}
        for each in (before, after)
    ]
    names = list(dict.fromkeys([*flat[0], *flat[1]]))
    rows = [
        {"what": name, "before": flat[0].get(name, ""), "after": flat[1].get(name, "")}
        for name in names
        if flat[0].get(name) != flat[1].get(name)
    ]
    return {"made differently": rows} if rows else {}


def _flat(name: str, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {name: str(value)}
    return {
        key: text
        for each, item in value.items()
        for key, text in _flat(f"{name} {each}", item).items()
    }


def _keys(before: Artifact, after: Artifact) -> dict[str, str]:
    """Rows that came and went, by the key of the kind."""
    schema = schema_of(before.manifest.kind)
    facts = {"rows": f"{before.manifest.num_rows} before, {after.manifest.num_rows} after"}
    if not schema.unique:
        return facts
    key = list(schema.unique[0])
    old, new = before.read(key), after.read(key)
    gone = old.join(new, keys=key, join_type="left anti").num_rows
    come = new.join(old, keys=key, join_type="left anti").num_rows
    words = ", ".join(key)
    return facts | {f"by {words}": f"{gone} gone, {come} new, {old.num_rows - gone} in both"}


def _negatives(before: Artifact, after: Artifact, limit: int) -> Difference:
    """Negatives that are hard no more, new or of another rank, and the texts behind them."""
    old, new = _kept(before), _kept(after)
    key = ["video_id", "text_id"]
    videos = [pc.unique(each["video_id"]) for each in (old, new)]
    shared = pc.is_in(videos[0], videos[1])
    both_videos = videos[0].filter(shared)
    here = [each.filter(pc.is_in(each["video_id"], both_videos)) for each in (old, new)]
    gone = here[0].join(here[1].select(key), keys=key, join_type="left anti")
    come = here[1].join(here[0].select(key), keys=key, join_type="left anti")
    both = here[0].join(
        here[1].select([*key, "rank", "cosine"]), keys=key, join_type="inner", right_suffix="_after"
    )
    change = pc.subtract(both["rank_after"], both["rank"])
    both = both.append_column("change", change).append_column("distance", pc.abs(change))
    moved = both.filter(pc.greater(both["distance"], 0))
    facts = {
        "videos": f"{len(both_videos)} in both, {len(videos[0]) - len(both_videos)} only before, "
        f"{len(videos[1]) - len(both_videos)} only after",
        "negatives of these videos": f"{here[0].num_rows} before, {here[1].num_rows} after",
        "hard no more": f"{gone.num_rows}",
        "new": f"{come.num_rows}",
        "in both": f"{both.num_rows}, of which {moved.num_rows} moved",
    }
    if both.num_rows:
        facts["mean rank change"] = f"{pc.mean(both['distance']).as_py():.2f}"
    order = [("distance", "descending"), ("video_id", "ascending"), ("rank", "ascending")]
    farthest = moved.sort_by(order).slice(0, limit)
    tables = {
        "texts that are hard no more": _by_text(gone, limit),
        "texts that became hard": _by_text(come, limit),
        "moved farthest": [
            {
                "video": row["video_id"],
                "text": row["name"],
                "rank": f"{row['rank']} -> {row['rank_after']}",
                "cosine": f"{row['cosine']:.3f} -> {row['cosine_after']:.3f}",
            }
            for row in farthest.to_pylist()
        ],
    }
    return Difference(facts, {title: rows for title, rows in tables.items() if rows})


def _kept(negatives: Artifact) -> pa.Table:
    columns = ["video_id", "text_id", "name", "rank", "cosine"]
    table = negatives.read(columns)
    return table.filter(pc.is_valid(table["rank"]))


def _by_text(table: pa.Table, limit: int) -> Rows:
    """Texts with the number of videos they were, or are, a negative of."""
    groups = table.group_by(["text_id", "name"]).aggregate(
        [("video_id", "count"), ("rank", "mean")]
    )
    groups = groups.sort_by([("video_id_count", "descending"), ("text_id", "ascending")])
    return [
        {
            "text": row["name"],
            "id": row["text_id"],
            "videos": str(row["video_id_count"]),
            "mean rank": f"{row['rank_mean']:.1f}",
        }
        for row in groups.slice(0, limit).to_pylist()
    ]


def _pairs(before: Artifact, after: Artifact, limit: int) -> Difference:
    """Class pairs whose votes or selection differ, by name, so that ids may differ."""
    old, new = _named_pairs(before), _named_pairs(after)
    changed = {pair for pair in old.keys() & new.keys() if old[pair] != new[pair]}
    changed |= old.keys() ^ new.keys()
    none = (0, False)

    def size(pair: tuple[str, str]) -> tuple[int, tuple[str, str]]:
        return -abs(new.get(pair, none)[0] - old.get(pair, none)[0]), pair

    rows = [
        {
            "class": pair[0],
            "co-occurs with": pair[1],
            "votes": f"{_shown(old, pair, 0)} -> {_shown(new, pair, 0)}",
            "selected": f"{_shown(old, pair, 1)} -> {_shown(new, pair, 1)}",
        }
        for pair in sorted(changed, key=size)[:limit]
    ]
    selected = [{pair for pair, (_, chosen) in each.items() if chosen} for each in (old, new)]
    facts = {
        "pairs": f"{len(old)} before, {len(new)} after, {len(changed)} changed",
        "selected no more": str(len(selected[0] - selected[1])),
        "newly selected": str(len(selected[1] - selected[0])),
    }
    return Difference(facts, {"changed pairs": rows} if rows else {})


def _shown(pairs: dict[tuple[str, str], tuple[int, bool]], pair: tuple[str, str], i: int) -> str:
    if pair not in pairs:
        return "none"
    value = pairs[pair][i]
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _named_pairs(artifact: Artifact) -> dict[tuple[str, str], tuple[int, bool]]:
    """Votes and selection of each class pair."""
    names = class_names(artifact)
    columns = artifact.read(["class_id", "other_id", "votes", "selected"]).to_pydict()
    return {
        (names.get(first, str(first)), names.get(other, str(other))): (votes, selected)
        for first, other, votes, selected in zip(*columns.values(), strict=True)
        if first != other
    }
