"""Accuracies by protocol, as shares."""

import pytest

from artifacts.store import Store
from artifacts.views.metrics import Accuracy, accuracies
from tests.published import classes, publish


def test_one_row_per_protocol(tmp_path):
    values = {
        ("zero_shot/prompt", "top1"): 0.25,
        ("zero_shot/prompt", "top5"): 0.75,
        ("zero_shot/prompt", "unreadable"): 1.0,
        ("mgdm/all", "map"): 0.5,
        ("mgdm/all", "of_a_new_task"): 0.125,
        ("mgdm/self", "unreadable"): 1.0,
    }
    rows = [
        {"split": "test", "protocol": p, "metric": m, "value": value, "num_videos": 8}
        for (p, m), value in values.items()
    ]
    assert accuracies(publish(Store(tmp_path), "metrics", rows)) == [
        Accuracy("zero_shot/prompt", True, {"top1": 0.25, "top5": 0.75}, "test", 8),
        Accuracy("mgdm/all", False, {"map": 0.5, "of_a_new_task": 0.125}, "test", 8),
        Accuracy("mgdm/self", False, {}, "test", None),
    ]


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a metrics artifact"):
        accuracies(publish(Store(tmp_path), "classes", classes(["a"])))
