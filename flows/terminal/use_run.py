"""`actionlore predict` and `actionlore export`: a published run on files, and outside the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from artifacts.artifact import Artifact
from artifacts.store import Store
from flows.orchestration.console import console
from flows.orchestration.specs.names import bare_name
from flows.orchestration.train_inputs import bundled_clip
from flows.terminal.work import named
from knowledge.clip.weights import ClipSpec
from knowledge.video.decoding import VideoError
from training.config.evaluation import EvalConfig
from training.inference.export import export as export_job
from training.inference.prediction import classifier


def predict(
    store: str,
    run: str,
    videos: Sequence[Path],
    clip: ClipSpec | None,
    num_top: int,
    views: str,
    protocol: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Show the most probable classes of video files.

    Raises:
        ValueError: no such run, no or another CLIP, or no file that can be read.
    """
    target = Store(store)
    trained = target.get(f"training_run/{bare_name(run, 'training_run')}")
    model = classifier(target, trained, clip or _bundled(target, trained), device)
    wanted = EvalConfig(views=views).num_views
    found: list[dict[str, Any]] = []
    for path in videos:
        try:
            found.append({"video": str(path), "top": model.top(path, num_top, wanted, protocol)})
        except VideoError as error:
            found.append({"video": str(path), "error": error.reason})
    if as_json:
        print(json.dumps([{"run": str(trained.ref), **each} for each in found], indent=1))
    else:
        console.print(f"read {named(target, str(trained.ref))}", markup=False, soft_wrap=True)
        console.print(_table(found))
    if all("error" in each for each in found):
        why = "; ".join(f"{each['video']}: {each['error']}" for each in found[:3])
        raise ValueError(f"none of {len(found)} videos can be used; {why}")


def export(store: str, run: str, output: Path, clip: ClipSpec | None) -> None:
    """Write a run to a directory.

    Raises:
        ValueError: no such run, no or another CLIP, or a directory that is not empty.
    """
    target = Store(store)
    trained = target.get(f"training_run/{bare_name(run, 'training_run')}")
    export_job(target, trained, output, clip or _bundled(target, trained))
    ref = named(target, str(trained.ref))
    console.print(f"{ref} is in {output}; how to load it is in {output / 'README.md'}")


def _bundled(store: Store, run: Artifact) -> ClipSpec | None:
    return bundled_clip(store.get(run.manifest.inputs["texts"].ref))


def _table(found: Sequence[dict[str, Any]]) -> Table:
    table = Table("video", "class", "probability %", box=None, pad_edge=False)
    for each in found:
        name = each["video"]
        if "error" in each:
            table.add_row(name, f"[red]{each['error']}[/red]", "")
        for row in each.get("top", ()):
            table.add_row(name, row["name"], f"{100 * row['probability']:.1f}")
            name = ""
    return table
