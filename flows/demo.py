"""`actionlore demo`: the chain offline, on the demo world, with and without hard negatives."""

from __future__ import annotations

import os
from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from rich.table import Table

from artifacts.inspection import negatives_of
from artifacts.store import Artifact, Store
from flows.pipeline import PipelineSpec, pipeline
from flows.steps import Step, console, progress, show_steps
from flows.train_model import TrainSpec, train
from knowledge.clip import BUNDLED, ClipSpec
from knowledge.datasets.listing import DatasetSpec
from knowledge.datasets.stickworld.generate import StickworldConfig, generate

WORLD = StickworldConfig(train_per_class=16, val_per_class=2, test_per_class=6)
RECIPE = "mgdm_stickworld"
COMPARED = ((), ("model.negatives.k=0",))
"""Changes to the recipe whose runs are compared."""


def demo(directory: Path) -> None:
    """Render, extract, mine, train twice, and show what came out.

    Args:
        directory: videos go to `videos`, artifacts to `artifacts` below it.
    """
    store = str(directory / "artifacts")
    steps = demo_flow(store, directory / "videos")
    show_steps(steps)
    _show_results(Store(store), [each for each in steps if each.ref.startswith("metrics/")])


@flow(name="demo")
def demo_flow(store: str, videos: Path) -> list[Step]:
    """The demo world through the pipeline, then the same without hard negatives."""
    generate_task(videos)
    spec = PipelineSpec(
        dataset=DatasetSpec(dataset="stickworld", videos=videos),
        clip=ClipSpec(arch="stickworld-clip", weights=BUNDLED),
        recipe=RECIPE,
        settings=COMPARED[0],
        split="test",
    )
    steps = pipeline(store, spec)
    [negatives] = [each.ref for each in steps if each.ref.startswith("negatives/")]
    without = TrainSpec(
        dataset=negatives.split("/")[1],
        recipe=RECIPE,
        settings=COMPARED[1],
        name=f"stickworld-{RECIPE}-k0",
        split="test",
        device="cpu",
    )
    return [*steps, *train(store, without)]


@task(cache_policy=NO_CACHE)
def generate_task(videos: Path) -> None:
    """Render and encode the world's clips that are not there yet."""
    with progress("rendering and encoding videos") as advance:
        generate(videos, WORLD, os.cpu_count() or 1, advance)


def _show_results(store: Store, metrics: list[Step]) -> None:
    negatives = store.get("negatives/stickworld")
    console.print("\n[bold]Hard negatives of two videos[/bold], nearest texts first")
    video_ids = list(dict.fromkeys(negatives.read(["video_id"])["video_id"].to_pylist()))
    for video_id in (video_ids[0], video_ids[len(video_ids) // 2]):
        names = [
            f"{row['name']} ({row['cosine']})"
            for row in negatives_of(negatives, video_id, 8)
            if row["status"] == "kept"
        ]
        console.print(f"  {video_id}: {', '.join(names[:5])}")
    console.print("\n[bold]Accuracy on the test videos[/bold]")
    console.print(_accuracies([store.get(each.ref) for each in metrics]))
    console.print(f"\nArtifacts are in {store.root}. Look further:")
    for command in (
        "inspect cooccurrence/stickworld",
        "inspect show negatives/stickworld --video VIDEO_ID",
        f"inspect lineage training_run/stickworld-{RECIPE}",
        "inspect list",
    ):
        console.print(f"  .venv/bin/actionlore {command} --store {store.root}")


def _accuracies(metrics: list[Artifact]) -> Table:
    """One line per protocol and run; frozen CLIP is the same in all runs."""
    table = Table("run", "protocol", "top-1", "top-5", "videos", box=None, pad_edge=False)
    seen = set()
    for artifact in metrics:
        rows = artifact.read().to_pylist()
        for protocol in dict.fromkeys(row["protocol"] for row in rows):
            frozen = protocol.startswith("zero_shot")
            run = "frozen CLIP" if frozen else artifact.manifest.name
            if (run, protocol) in seen:
                continue
            seen.add((run, protocol))
            of = {row["metric"]: row for row in rows if row["protocol"] == protocol}
            values = [f"{100 * of[name]['value']:.1f} %" for name in ("top1", "top5")]
            table.add_row(run, protocol, *values, str(of["top1"]["num_videos"]))
    return table
