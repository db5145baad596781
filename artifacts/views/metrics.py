"""Accuracies by protocol."""

from __future__ import annotations

from artifacts.artifact import Artifact


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
