"""What the rest of evaluation asks a task; a task is a module of `training.evaluation.tasks`.

A further task is a further module there. Configs ask it, too, so it imports torch, and what needs
torch, within its functions only. A run's table has a column per metric that chooses epochs: a task
whose first metric is neither `top1` nor `map` also needs a column `val_METRIC`, which may be null,
in the schema `training_run` of `artifacts.kinds`, with a new version, and in the rows of
`training.loop.epochs` and `training.loop.fit`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from training.config.method import MethodConfig, task_module

if TYPE_CHECKING:
    from training.data.class_list import ClassList
    from training.data.video_set import VideoSet
    from training.evaluation.scoring import Scored


class Task(Protocol):
    """What such a module offers."""

    SEVERAL_LABELS: bool
    """Whether a video has any number of classes, instead of one."""
    METRICS: tuple[str, ...]
    """What `measure` gives; the first chooses the published epoch."""

    def num_top(self, num_classes: int) -> int:
        """Classes stored per prediction."""

    def rows(
        self, protocol: str, videos: VideoSet, found: Scored, classes: ClassList
    ) -> Iterator[dict[str, Any]]:
        """Rows of `predictions`."""

    def measure(self, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Metrics of such rows by name, of one protocol; empty or 0 without any row."""

    def selection(
        self, protocol: str, videos: VideoSet, found: Scored, classes: ClassList
    ) -> float:
        """The first metric, before there are rows."""


def task_of(config: MethodConfig) -> Task:
    """The task of a method.

    Raises:
        ValueError: there is no such task.
    """
    return cast(Task, task_module(config.task))
