"""`actionlore demo`: the chain offline, on the demo world, with and without hard negatives."""

from __future__ import annotations

import os
from pathlib import Path

from artifacts.store import Store
from flows.demos.demo_report import draw_picture, report
from flows.demos.demo_screen import show
from flows.demos.stickworld import mined_world, train_all_task
from flows.orchestration.console import console
from flows.orchestration.flow import flow
from flows.orchestration.report import JobReport, name_of
from flows.orchestration.specs.train import TrainSpec
from knowledge.stickworld.generate import StickworldConfig
from training.config.runtime import RuntimeOptions

WORLD = StickworldConfig(train_per_class=12, val_per_class=0, test_per_class=6)
RECIPES = ("mgdm_stickworld_k0", "mgdm_stickworld_k7")
"""Without and with hard negatives."""
REPORT, PICTURE = "report.md", "hard_negatives.png"


def demo(directory: Path) -> None:
    """Render, extract, mine, train twice, and show what came out.

    Args:
        directory: videos go to `videos`, artifacts to `artifacts`, and what was found to
            `report.md` and `hard_negatives.png` below it.
    """
    store = str(directory / "artifacts")
    reports = demo_flow(store, directory / "videos")
    opened = Store(store)
    draw_picture(directory / PICTURE, opened, reports, directory / "videos")
    text = report(opened, reports, PICTURE)
    (directory / REPORT).write_text(text, encoding="utf-8")
    show(opened, reports, directory / REPORT, directory / PICTURE)


@flow(name="demo")
def demo_flow(store: str, videos: Path) -> list[JobReport]:
    """The demo world up to its hard negatives, then training with and without them."""
    reports = mined_world(store, videos, WORLD)
    negatives = name_of(reports[-1])
    runtime = RuntimeOptions(device="cpu")
    runs = [TrainSpec(dataset=negatives, recipe=each, runtime=runtime) for each in RECIPES]
    console.print("training without and with hard negatives, at the same time")
    trained = train_all_task(store, runs, os.cpu_count() or 1)
    return [*reports, *(each for made in trained for each in made)]
