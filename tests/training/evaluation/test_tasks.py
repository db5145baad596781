"""What must hold of every task found; a further one is a module of its folder."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from training.config.method import MethodConfig, task_module, task_names
from training.config.run import RunConfig
from training.data.class_list import ClassList
from training.data.video_set import VideoSet
from training.evaluation.scoring import Scored
from training.evaluation.task import Task, task_of

every_task = pytest.mark.parametrize("name", task_names())
NUM_CLASSES, NUM_VIDEOS = 7, 9


class OfTask(MethodConfig):
    """A method's config that names a task."""

    name: str = "mgdm"
    of: str

    @property
    def task(self):
        """The given one."""
        return self.of


def scored(task):
    """Ids with gaps; videos of the first classes, some of which are not readable."""
    rng = torch.Generator().manual_seed(0)
    class_ids = tuple(range(10, 10 + 3 * NUM_CLASSES, 3))
    texts_KD = torch.zeros(NUM_CLASSES, 2)
    classes = ClassList(class_ids, *[tuple(map(str, class_ids))] * 2, texts_KD, None, 0)
    labels_NK = torch.eye(NUM_VIDEOS, NUM_CLASSES, dtype=torch.bool)
    labels_NK[NUM_CLASSES:, 0] = True
    if task.SEVERAL_LABELS:
        labels_NK[::2, 1] = True
    first_N = torch.tensor(class_ids)[labels_NK.int().argmax(dim=1)]
    ids = tuple(f"v{i}" for i in range(NUM_VIDEOS))
    labels = {"labels_NK": labels_NK} if task.SEVERAL_LABELS else {}
    videos = VideoSet("val", ids, ids, first_N, Counter(), **labels)
    index_N = np.array([0, 1, 2, 4, 5, 7, 8])
    random_NK = torch.rand(len(index_N), NUM_CLASSES, generator=rng)
    found_NK = random_NK / 2 + 0.15 * labels_NK[index_N].float()
    best_NK, order_NK = found_NK.sort(dim=1, descending=True)
    top = task.num_top(NUM_CLASSES)
    found = Scored(index_N, {"p": order_NK[:, :top]}, {"p": best_NK[:, :top]})
    return "p", videos, found, classes


def test_tasks_are_the_modules_of_the_folder():
    assert {"single_label", "multi_label"} <= set(task_names())
    with pytest.raises(ValueError, match=r"unknown task 'none'; known: multi_label, single_label"):
        task_module("none")
    with pytest.raises(ValueError, match="unknown task 'none'"):
        RunConfig(model=OfTask(of="none"))


@every_task
def test_it_offers_what_is_asked_of_a_task(name):
    task = task_of(OfTask(of=name))
    for each in (*Task.__annotations__, "num_top", "rows", "measure", "selection"):
        assert hasattr(task, each), f"{name} lacks {each}"
    assert OfTask(of=name).several_labels is task.SEVERAL_LABELS
    assert task.METRICS
    assert 1 <= task.num_top(2) <= 2


@every_task
def test_metrics_are_those_it_names_and_the_first_one_selects(name):
    task = task_module(name)
    given = scored(task)
    rows = list(task.rows(*given))
    assert [row["video_id"] for row in rows] == [f"v{i}" for i in given[2].index_N]
    assert all(len(row["top_class_ids"]) == task.num_top(NUM_CLASSES) for row in rows)
    values = task.measure(rows)
    assert tuple(values) == task.METRICS
    assert 0 < values[task.METRICS[0]] < 1
    assert task.selection(*given) == pytest.approx(values[task.METRICS[0]])
    assert set(task.measure([]).values()) <= {0.0}


@every_task
def test_a_config_can_ask_it_without_torch(name):
    code = (
        "import sys; from training.config.method import task_module; "
        f"task_module({name!r}); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
