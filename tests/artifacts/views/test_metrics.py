"""Accuracies by protocol, as shares."""

import pytest

from artifacts.artifact import Outcome
from artifacts.store import Store
from artifacts.views.metrics import Accuracy, accuracies
from flows.orchestration.report import job_report
from flows.terminal.inspect import show
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
        Accuracy("zero_shot/prompt", True, {"top1": 0.25, "top5": 0.75}, "test", 8, 8),
        Accuracy("mgdm/all", False, {"map": 0.5, "of_a_new_task": 0.125}, "test", 8),
        Accuracy("mgdm/self", False, {}, "test", None, 8),
    ]


@pytest.mark.parametrize(
    "report", [{"mgdm/all top1": 0.5}, {"metrics": {"mgdm/all": {"top1": 0.5}}}]
)
def test_reports_of_every_version_are_shown(tmp_path, capsys, report):
    """Accuracies are those of the table; the report is shown whatever its shape."""
    row = {"split": "test", "protocol": "mgdm/all", "metric": "top1", "value": 0.5}
    made = publish(Store(tmp_path), "metrics", [row | {"num_videos": 8}], report=report)
    assert [each.values for each in accuracies(made)] == [{"top1": 0.5}]
    notes = job_report(Outcome(made, made=True)).notes
    assert "mgdm/all" in str(notes)
    assert "top1 0.5" in " ".join(f"{name} {text}" for name, text in notes.items())
    show(str(tmp_path), str(made.ref), None, 8, False)
    shown = capsys.readouterr().out
    assert "50.0" in shown
    assert ("mgdm/all top1" in shown) == ("metrics" not in report)


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a metrics artifact"):
        accuracies(publish(Store(tmp_path), "classes", classes(["a"])))
