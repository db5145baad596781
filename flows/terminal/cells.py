"""Facts as the cells of a table: every fact of `artifacts.views` as text, by column title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from artifacts.views.cooccurrence import ClassPair
from artifacts.views.difference import PairChange, RankChange, SettingChange, TextCount
from artifacts.views.metrics import Accuracy
from artifacts.views.negatives import Candidate, StatusCount, VideoNegatives

LONGEST_CELL = 60

Cells = dict[str, str]


def as_text(value: object) -> str:
    """A value in at most `LONGEST_CELL` characters; of a list the first four."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        shown = ", ".join(as_text(each) for each in value[:4])
        return shown + (", ..." if len(value) > 4 else "")
    text = str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 3] + "..."


def as_cells(row: Mapping[str, Any]) -> Cells:
    """A row of any artifact."""
    return {name: as_text(value) for name, value in row.items()}


def fact_lines(facts: Mapping[str, Any]) -> list[str]:
    """`name value` of each fact that says something; nested ones as `outer.name value`."""
    found: list[str] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += [f"{name}.{line}" for line in fact_lines(value)]
        elif isinstance(value, bool):
            found.append(f"{name} {'yes' if value else 'no'}")
        elif text := as_text(value):
            found.append(f"{name} {text}")
    return found


def percent(share: float | None) -> str:
    """A share in [0, 1]; empty if there is none."""
    return "" if share is None else f"{100 * share:.1f}"


def metric_title(name: str) -> str:
    """A metric as tables call it, e.g. `top-1`, `mAP`."""
    return name.replace("map", "mAP").replace("top", "top-").replace("_", " ")


def of_split(accuracy: Accuracy) -> str:
    """The videos that an accuracy is computed over, and how many of the split it leaves out."""
    if accuracy.num_videos is None:
        return ""
    unusable = f", {accuracy.num_unusable} unusable" if accuracy.num_unusable else ""
    return f"{accuracy.num_videos} of {accuracy.split}{unusable}"


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, without a final line end."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def pair_cells(pair: ClassPair) -> Cells:
    """A co-occurring class pair."""
    return {
        "class": str(pair.class_id) if pair.class_name is None else pair.class_name,
        "co-occurs with": str(pair.other_id) if pair.other_name is None else pair.other_name,
        "votes": f"{pair.votes} of {pair.rounds}",
        "votes back": str(pair.votes_back),
        "place": as_text(pair.mean_position),
        "videos": str(pair.count),
        "source": pair.source,
        "selected": "yes" if pair.selected else "",
    }


def candidate_cells(candidate: Candidate) -> Cells:
    """A candidate of one video."""
    shown = ("rank", "dataset_rank", "name", "cosine", "margin", "cooccurrence_votes")
    return as_cells({name: getattr(candidate, name) for name in (*shown, "status", "reason")})


def status_cells(count: StatusCount) -> Cells:
    """How many candidates ended in one way."""
    number = str(count.num_candidates)
    return {"status": count.status, "candidates": number, "%": percent(count.share)}


def nearest_cells(video: VideoNegatives) -> Cells:
    """A video with its own class and hardest negatives."""
    return {
        "video": video.video_id,
        "own class": "" if video.own_class is None else _with_cosine(video.own_class),
        "hardest negatives": ", ".join(map(_with_cosine, video.hardest)),
    }


def _with_cosine(candidate: Candidate) -> str:
    return f"{as_text(candidate.name)} {candidate.cosine:.3f}"


def setting_cells(change: SettingChange) -> Cells:
    """Something that two artifacts were made with differently."""
    return {
        "what": change.what,
        "before": "" if change.found_in == "after" else str(change.before),
        "after": "" if change.found_in == "before" else str(change.after),
    }


def text_cells(count: TextCount) -> Cells:
    """A text that came or went."""
    return {
        "text": count.name,
        "id": count.text_id,
        "videos": str(count.num_videos),
        "mean rank": f"{count.mean_rank:.1f}",
    }


def rank_cells(change: RankChange) -> Cells:
    """A negative of another rank."""
    return {
        "video": change.video_id,
        "text": change.name,
        "rank": f"{change.rank_before} -> {change.rank_after}",
        "cosine": f"{change.cosine_before:.3f} -> {change.cosine_after:.3f}",
    }


def change_cells(change: PairChange) -> Cells:
    """A class pair whose votes or selection differ."""
    votes = (change.votes_before, change.votes_after)
    selected = (change.selected_before, change.selected_after)
    return {
        "class": change.class_name,
        "co-occurs with": change.other_name,
        "votes": " -> ".join("none" if each is None else str(each) for each in votes),
        "selected": " -> ".join(
            "none" if each is None else "yes" if each else "no" for each in selected
        ),
    }
