"""The demo world up to its mined negatives, and training on it, for the flows of this package."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from flows.extract_knowledge import extract
from flows.mine_negatives import mine
from flows.orchestration.console import progress
from flows.orchestration.flow import task
from flows.orchestration.report import JobReport, name_of
from flows.orchestration.side_by_side import side_by_side
from flows.orchestration.specs.extract import ExtractSpec
from flows.orchestration.specs.mine import MineSpec
from flows.orchestration.specs.train import TrainSpec
from flows.register_dataset import register
from flows.train_model import train
from knowledge.clip.weights import BUNDLED, ClipSpec
from knowledge.datasets.spec import DatasetSpec
from knowledge.stickworld.generate import StickworldConfig, generate

WORLD_CLIP = ClipSpec(arch="stickworld-clip", weights=BUNDLED)


def mined_world(store: str, videos: Path, world: StickworldConfig) -> list[JobReport]:
    """Render, register, extract from the recorded replies, and mine; the negatives come last."""
    generate_task(videos, world)
    classes, clips = register(store, DatasetSpec(dataset="stickworld", videos=videos))
    known = extract(store, ExtractSpec(classes=name_of(classes)))
    mined = mine(store, MineSpec(dataset=name_of(clips), videos=videos, clip=WORLD_CLIP))
    return [classes, clips, *known, *mined]


@task
def generate_task(videos: Path, world: StickworldConfig) -> None:
    """Render and encode the world's clips that are not there yet."""
    with progress("rendering and encoding videos") as advance:
        generate(videos, world, os.cpu_count() or 1, advance)


@task
def train_all_task(store: str, runs: Sequence[TrainSpec], at_once: int) -> list[list[JobReport]]:
    """Train and score all runs, some at a time; the reports of each."""
    return side_by_side(train, [(store, run) for run in runs], at_once, "training runs")
