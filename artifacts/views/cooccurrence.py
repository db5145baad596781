"""Class pairs that happen together."""

from __future__ import annotations

import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.views.rows import as_text, class_names


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
                "place": as_text(row["mean_position"]),
                "videos": str(row["count"]),
                "source": row["source"],
                "selected": "yes" if row["selected"] else "",
            }
        )
    return shown
