"""`actionlore demo`: the chain offline, on the demo world, with and without hard negatives."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from artifacts.inspection import negatives_of
from artifacts.store import Store
from flows.steps import Step, console, name_of, show_steps
from flows.stickworld import mined_world
from flows.train_model import TrainSpec, train
from knowledge.datasets.stickworld.generate import StickworldConfig

WORLD = StickworldConfig(train_per_class=24, val_per_class=2, test_per_class=6)
RECIPES = ("mgdm_stickworld_k0", "mgdm_stickworld_k7")
"""Without and with hard negatives."""


def demo(directory: Path) -> None:
    """Render, extract, mine, train twice, and show what came out.

    Args:
        directory: videos go to `videos`, artifacts to `artifacts` below it.
    """
    store = str(directory / "artifacts")
    steps = demo_flow(store, directory / "videos")
    show_steps(steps, store)
    _show_results(Store(store))


@flow(name="demo")
def demo_flow(store: str, videos: Path) -> list[Step]:
    """The demo world up to its hard negatives, then training with and without them."""
    steps = mined_world(store, videos, WORLD)
    negatives = name_of(steps[-1])
    for recipe in RECIPES:
        steps += train(store, TrainSpec(dataset=negatives, recipe=recipe, device="cpu"))
    return steps


def _show_results(store: Store) -> None:
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
    console.print(f"\nArtifacts are in {store.root}. Look further:")
    for command in (
        "inspect cooccurrence/stickworld",
        f"inspect negatives/stickworld --video {video_ids[0]}",
        f"inspect lineage training_run/stickworld-{RECIPES[-1]}",
        "inspect list",
    ):
        console.print(f"  .venv/bin/actionlore {command} --store {store.root}")
