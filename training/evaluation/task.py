"""What the rest of evaluation asks a task; a task is a module of `training.evaluation.tasks`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

from training.config.method import MethodConfig
from training.data.class_list import ClassList
from training.data.video_set import VideoSet
from training.evaluation.scoring import Scored


class Task(Protocol):
    """What such a module offers."""

    def num_top(self, num_classes: int) -> int:
        """Classes stored per prediction."""

    def rows(
        self, protocol: str, videos: VideoSet, found: Scored, classes: ClassList
    ) -> Iterator[dict[str, Any]]:
        """Rows of `predictions`."""

    def measure(self, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Metrics of such rows by name, of one protocol."""

    def selection(
        self, protocol: str, videos: VideoSet, found: Scored, classes: ClassList
    ) -> tuple[str, float]:
        """The metric that chooses the published epoch, and its value."""


def task_of(config: MethodConfig) -> Task:
    """The task of a method."""
    return cast(Task, importlib.import_module(f"training.evaluation.tasks.{config.task}"))
