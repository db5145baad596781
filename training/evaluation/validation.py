"""The metric that chooses the published epoch, on the validation videos."""

from __future__ import annotations

import torch

from training.config.run import RunConfig
from training.data.class_list import ClassList
from training.data.sources import ClipSource
from training.data.video_set import VideoSet
from training.distributed.group import Group
from training.evaluation.scoring import Pass, check_readable, scored
from training.evaluation.task import task_of
from training.models.method import Method


def validate(
    method: Method,
    source: ClipSource,
    videos: VideoSet,
    classes: ClassList,
    config: RunConfig,
    group: Group,
) -> tuple[str, float]:
    """The metric that selects, and its value, under the method's primary protocol.

    Returns:
        The first of the task's metrics: `top1`; `map` where videos have several classes.
    """
    with torch.no_grad():
        classify = method.protocols(classes)[method.primary]
    return selection(Pass(method, source, videos, {"": classify}), classes, config, group)


def selection(each: Pass, classes: ClassList, config: RunConfig, group: Group) -> tuple[str, float]:
    """The same of a pass with one classifier, whose name is empty."""
    task = task_of(config.model)
    num_top = task.num_top(len(classes.class_ids))
    found = scored(each, num_top, config.eval.videos_per_pass, group)
    check_readable(each, found, config)
    return task.METRICS[0], task.selection("", each.videos, found, classes)
