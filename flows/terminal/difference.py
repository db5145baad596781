"""What changed between two artifacts, as lines and tables."""

from __future__ import annotations

from artifacts.views.difference import (
    Difference,
    NegativeChanges,
    Overlap,
    PairChanges,
    RowChanges,
)
from flows.terminal.cells import (
    Cells,
    change_cells,
    rank_cells,
    setting_cells,
    text_cells,
)


def lines(found: Difference) -> dict[str, str]:
    """How much changed, each with what it is about."""
    changes = found.changes
    if isinstance(changes, NegativeChanges):
        return _negatives(changes)
    if isinstance(changes, PairChanges):
        return {
            "pairs": f"{changes.num_before} before, {changes.num_after} after, "
            f"{changes.num_changed} changed",
            "selected no more": str(changes.num_selected_gone),
            "newly selected": str(changes.num_selected_new),
        }
    if isinstance(changes, RowChanges):
        rows = {"rows": f"{changes.num_before} before, {changes.num_after} after"}
        if not (keys := changes.keys):
            return rows
        counts = f"{keys.num_gone} gone, {keys.num_new} new, {keys.num_both} in both"
        return rows | {f"by {', '.join(changes.key)}": counts}
    return {"content": "the same"}


def _negatives(changes: NegativeChanges) -> dict[str, str]:
    videos, kept = changes.videos, changes.negatives
    found = {
        "videos": f"{videos.num_both} in both, {videos.num_gone} only before, "
        f"{videos.num_new} only after",
        "negatives of these videos": f"{_before(kept)} before, {_after(kept)} after",
        "hard no more": f"{kept.num_gone}",
        "new": f"{kept.num_new}",
        "in both": f"{kept.num_both}, of which {changes.num_moved} moved",
    }
    if changes.mean_rank_change is not None:
        found["mean rank change"] = f"{changes.mean_rank_change:.2f}"
    return found


def tables(found: Difference) -> dict[str, list[Cells]]:
    """What changed, by title; a table without rows is left out."""
    made = {"made differently": list(map(setting_cells, found.settings))}
    changes = found.changes
    if isinstance(changes, NegativeChanges):
        made |= {
            "texts that are hard no more": list(map(text_cells, changes.gone)),
            "texts that became hard": list(map(text_cells, changes.new)),
            "moved farthest": list(map(rank_cells, changes.moved)),
        }
    elif isinstance(changes, PairChanges):
        made["changed pairs"] = list(map(change_cells, changes.pairs))
    return {title: rows for title, rows in made.items() if rows}


def _before(overlap: Overlap) -> int:
    return overlap.num_gone + overlap.num_both


def _after(overlap: Overlap) -> int:
    return overlap.num_new + overlap.num_both
