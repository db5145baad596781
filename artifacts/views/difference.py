"""What changed between two artifacts of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.kinds import schema_of
from artifacts.provenance import Manifest
from artifacts.views.rows import class_names

_Pairs = dict[tuple[str, str], tuple[int, bool]]
"""Votes and selection by the names of a class pair."""


@dataclass(frozen=True)
class SettingChange:
    """Something that the two were made with differently."""

    what: str
    """Path of a setting below `config`, `input` and a role, or `schema version`."""
    before: Any
    after: Any
    found_in: Literal["both", "before", "after"]
    """Tells a setting that one of them does not have from one whose value is None."""


@dataclass(frozen=True)
class Overlap:
    """Sizes of what is only in the earlier, only in the later, and in both."""

    num_gone: int
    num_new: int
    num_both: int


@dataclass(frozen=True)
class RowChanges:
    """What changed in the rows of any kind."""

    num_before: int
    num_after: int
    key: tuple[str, ...]
    """Columns that identify a row; empty if none do."""
    keys: Overlap | None


@dataclass(frozen=True)
class TextCount:
    """A text and the videos that it is, or was, a negative of."""

    text_id: str
    name: str
    num_videos: int
    mean_rank: float


@dataclass(frozen=True)
class RankChange:
    """A negative of both, of another rank."""

    video_id: str
    text_id: str
    name: str
    rank_before: int
    rank_after: int
    cosine_before: float
    cosine_after: float


@dataclass(frozen=True)
class NegativeChanges:
    """What changed in the negatives of the videos that are in both."""

    videos: Overlap
    negatives: Overlap
    num_moved: int
    """Negatives in both whose rank differs."""
    mean_rank_change: float | None
    """Mean distance of the ranks of negatives in both; None if there are none."""
    gone: tuple[TextCount, ...]
    """Texts that are hard no more, those of most videos first."""
    new: tuple[TextCount, ...]
    """Texts that became hard, those of most videos first."""
    moved: tuple[RankChange, ...]
    """The farthest first."""


@dataclass(frozen=True)
class PairChange:
    """A class pair whose votes or selection differ; None where it is in one of them only."""

    class_name: str
    other_name: str
    votes_before: int | None
    votes_after: int | None
    selected_before: bool | None
    selected_after: bool | None


@dataclass(frozen=True)
class PairChanges:
    """What changed in the pairs of two different classes, by name, so that ids may differ."""

    num_before: int
    num_after: int
    num_changed: int
    num_selected_gone: int
    num_selected_new: int
    pairs: tuple[PairChange, ...]
    """Those whose votes changed most first."""


@dataclass(frozen=True)
class Difference:
    """What differs between two artifacts."""

    before: str
    """Ref."""
    after: str
    """Ref."""
    settings: tuple[SettingChange, ...]
    changes: RowChanges | NegativeChanges | PairChanges | None
    """None: the content is the same."""


def compare(before: Artifact, after: Artifact, limit: int) -> Difference:
    """What differs: of negatives and co-occurrence their content, of all kinds manifest and rows.

    Args:
        before: the earlier artifact.
        after: the later one.
        limit: of texts, negatives and pairs listed.

    Raises:
        ValueError: they are of different kinds.
    """
    kinds = before.manifest.kind, after.manifest.kind
    if kinds[0] != kinds[1]:
        raise ValueError(f"{before.ref} and {after.ref} are of different kinds; give two of one")
    changes: RowChanges | NegativeChanges | PairChanges | None = None
    if before.manifest.content_hash != after.manifest.content_hash:
        if kinds[0] == "negatives":
            changes = _negatives(before, after, limit)
        elif kinds[0] == "cooccurrence":
            changes = _pairs(before, after, limit)
        else:
            changes = _rows(before, after)
    settings = tuple(_settings(before.manifest, after.manifest))
    return Difference(str(before.ref), str(after.ref), settings, changes)


def _settings(before: Manifest, after: Manifest) -> list[SettingChange]:
    """Settings and inputs that differ."""
    old, new = (
        _flat("config", each.config)
        | {f"input {role}": str(item.ref) for role, item in each.inputs.items()}
        | {"schema version": each.schema_version}
        for each in (before, after)
    )
    found = []
    for name in dict.fromkeys([*old, *new]):
        if name not in new:
            found.append(SettingChange(name, old[name], None, "before"))
        elif name not in old:
            found.append(SettingChange(name, None, new[name], "after"))
        elif old[name] != new[name]:
            found.append(SettingChange(name, old[name], new[name], "both"))
    return found


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {
        key: found
        for each, item in value.items()
        for key, found in _flat(f"{name} {each}", item).items()
    }


def _rows(before: Artifact, after: Artifact) -> RowChanges:
    """Rows that came and went, by the key of the kind."""
    schema = schema_of(before.manifest.kind)
    sizes = before.manifest.num_rows, after.manifest.num_rows
    if not schema.unique:
        return RowChanges(*sizes, key=(), keys=None)
    key = list(schema.unique[0])
    old, new = before.read(key), after.read(key)
    gone = old.join(new, keys=key, join_type="left anti").num_rows
    come = new.join(old, keys=key, join_type="left anti").num_rows
    return RowChanges(*sizes, tuple(key), Overlap(gone, come, old.num_rows - gone))


def _negatives(before: Artifact, after: Artifact, limit: int) -> NegativeChanges:
    """Negatives that are hard no more, new or of another rank, and the texts behind them."""
    old, new = _kept(before), _kept(after)
    key = ["video_id", "text_id"]
    videos = [pc.unique(each["video_id"]) for each in (old, new)]
    shared = videos[0].filter(pc.is_in(videos[0], videos[1]))
    here = [each.filter(pc.is_in(each["video_id"], shared)) for each in (old, new)]
    gone = here[0].join(here[1].select(key), keys=key, join_type="left anti")
    come = here[1].join(here[0].select(key), keys=key, join_type="left anti")
    both = here[0].join(
        here[1].select([*key, "rank", "cosine"]), keys=key, join_type="inner", right_suffix="_after"
    )
    change = pc.subtract(both["rank_after"], both["rank"])
    both = both.append_column("distance", pc.abs(change))
    moved = both.filter(pc.greater(both["distance"], 0))
    order = [("distance", "descending"), ("video_id", "ascending"), ("rank", "ascending")]
    return NegativeChanges(
        Overlap(len(videos[0]) - len(shared), len(videos[1]) - len(shared), len(shared)),
        Overlap(gone.num_rows, come.num_rows, both.num_rows),
        num_moved=moved.num_rows,
        mean_rank_change=pc.mean(both["distance"]).as_py(),
        gone=_by_text(gone, limit),
        new=_by_text(come, limit),
        moved=tuple(map(_rank_change, moved.sort_by(order).slice(0, limit).to_pylist())),
    )


def _kept(negatives: Artifact) -> pa.Table:
    columns = ["video_id", "text_id", "name", "rank", "cosine"]
    table = negatives.read(columns)
    return table.filter(pc.is_valid(table["rank"]))


def _by_text(table: pa.Table, limit: int) -> tuple[TextCount, ...]:
    """Texts with the number of videos they were, or are, a negative of."""
    groups = table.group_by(["text_id", "name"]).aggregate(
        [("video_id", "count"), ("rank", "mean")]
    )
    groups = groups.sort_by([("video_id_count", "descending"), ("text_id", "ascending")])
    return tuple(
        TextCount(row["text_id"], row["name"], row["video_id_count"], row["rank_mean"])
        for row in groups.slice(0, limit).to_pylist()
    )


def _rank_change(row: dict[str, Any]) -> RankChange:
    return RankChange(
        *(row["video_id"], row["text_id"], row["name"]),
        *(row["rank"], row["rank_after"]),
        *(row["cosine"], row["cosine_after"]),
    )


def _pairs(before: Artifact, after: Artifact, limit: int) -> PairChanges:
    """Class pairs whose votes or selection differ."""
    old, new = _named_pairs(before), _named_pairs(after)
    changed = {pair for pair in old.keys() & new.keys() if old[pair] != new[pair]}
    changed |= old.keys() ^ new.keys()
    none = (0, False)

    def size(pair: tuple[str, str]) -> tuple[int, tuple[str, str]]:
        return -abs(new.get(pair, none)[0] - old.get(pair, none)[0]), pair

    selected = [{pair for pair, (_, chosen) in each.items() if chosen} for each in (old, new)]
    return PairChanges(
        *(len(old), len(new), len(changed)),
        *(len(selected[0] - selected[1]), len(selected[1] - selected[0])),
        tuple(_pair_change(pair, old, new) for pair in sorted(changed, key=size)[:limit]),
    )


def _pair_change(pair: tuple[str, str], old: _Pairs, new: _Pairs) -> PairChange:
    votes_before, selected_before = old.get(pair, (None, None))
    votes_after, selected_after = new.get(pair, (None, None))
    return PairChange(*pair, votes_before, votes_after, selected_before, selected_after)


def _named_pairs(artifact: Artifact) -> _Pairs:
    names = class_names(artifact)
    columns = artifact.read(["class_id", "other_id", "votes", "selected"]).to_pydict()
    return {
        (names.get(first, str(first)), names.get(other, str(other))): (votes, selected)
        for first, other, votes, selected in zip(*columns.values(), strict=True)
        if first != other
    }
