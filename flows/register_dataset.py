"""Flow `register`: a dataset's files to the `classes` and `videos` artifacts."""

from __future__ import annotations

from artifacts.store import Store
from flows.orchestration.console import console, progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from knowledge.datasets.listing import read_listing, told
from knowledge.datasets.registration import (
    check_usable,
    fingerprints,
    register_classes,
    register_videos,
)
from knowledge.datasets.spec import DatasetSpec
from knowledge.video.workers import DEADLINE_S


@task
def register_task(store: str, dataset: DatasetSpec, deadline_s: float) -> list[JobReport]:
    """List the dataset, probe its videos, publish both artifacts."""
    target = Store(store)
    listing = read_listing(dataset)
    for line in told(listing):
        console.print(line, style="dim", markup=False, soft_wrap=True)
    classes = register_classes(target, dataset.artifact_name, listing.classes)
    with progress("looking for videos") as advance:
        prints = fingerprints(dataset.videos, listing, advance)
    with progress("probing videos") as advance:
        videos = register_videos(
            target, dataset, listing, classes.artifact, advance, prints, deadline_s=deadline_s
        )
    check_usable(videos.artifact, dataset.videos)
    return [job_report(classes), job_report(videos)]


@flow(name="register")
def register(store: str, dataset: DatasetSpec, deadline_s: float = DEADLINE_S) -> list[JobReport]:
    """Register a dataset: `classes/NAME` and `videos/NAME`."""
    return register_task(store, dataset, deadline_s)
