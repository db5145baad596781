"""`actionlore demo`: the chain offline, on the demo world, with and without hard negatives."""

from __future__ import annotations

from pathlib import Path

from rich.markdown import Markdown

from artifacts.store import Store
from flows.demos.demo_report import report
from flows.demos.stickworld import mined_world
from flows.orchestration.console import console
from flows.orchestration.flow import flow
from flows.orchestration.report import JobReport, name_of
from flows.terminal.work import show_work
from flows.train_model import TrainSpec, train
from knowledge.stickworld.generate import StickworldConfig
from training.config.runtime import RuntimeOptions

WORLD = StickworldConfig(train_per_class=24, val_per_class=2, test_per_class=6)
RECIPES = ("mgdm_stickworld_k0", "mgdm_stickworld_k7")
"""Without and with hard negatives."""


def demo(directory: Path) -> None:
    """Render, extract, mine, train twice, and show what came out.

    Args:
        directory: videos go to `videos`, artifacts to `artifacts`, and what was found to
            `report.md` below it.
    """
    store = str(directory / "artifacts")
    reports = demo_flow(store, directory / "videos")
    show_work(reports)
    text = report(Store(store), reports)
    path = directory / "report.md"
    path.write_text(text, encoding="utf-8")
    console.print()
    console.print(Markdown(text))
    console.print(f"\nThis report is in {path}")


@flow(name="demo")
def demo_flow(store: str, videos: Path) -> list[JobReport]:
    """The demo world up to its hard negatives, then training with and without them."""
    reports = mined_world(store, videos, WORLD)
    negatives = name_of(reports[-1])
    for recipe in RECIPES:
        spec = TrainSpec(dataset=negatives, recipe=recipe, runtime=RuntimeOptions(device="cpu"))
        reports += train(store, spec)
    return reports
