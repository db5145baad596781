"""Lines of a comparison: frozen CLIP's once, every variant as trained and with weights between."""

import pytest

from artifacts.store import Store
from artifacts.views.comparison import Line, Spread, lines, own_protocols
from artifacts.views.metrics import is_frozen
from tests.published import classes, publish


def compared(store, values):
    """A comparison of values by variant, protocol and metric; one run each."""
    rows = [
        {"variant": variant, "protocol": protocol, "metric": metric, "mean": value, "std": 0.0}
        | {"values": [value]}
        for (variant, protocol, metric), value in values.items()
    ]
    return publish(store, "comparison", rows)


def of(**values):
    return {name: Spread(value, 0.0, [value]) for name, value in values.items()}


def test_lines(tmp_path):
    found = compared(
        Store(tmp_path),
        {
            ("a", "mgdm/self", "top1"): 0.5,
            ("a", "mgdm/all", "top1"): 0.75,
            ("a", "mgdm/all", "top5"): 1.0,
            ("a", "mgdm/self", "top5"): 1.0,
            ("a", "mgdm/all@0.5", "top1"): 0.625,
            ("a", "mgdm/self@0.5", "top1"): 0.625,
            ("a", "zero_shot/prompt", "top1"): 0.25,
            ("b", "mgdm/all", "top1"): 0.5,
            ("b", "zero_shot/prompt", "top1"): 0.25,
            ("c", "zero_shot/prompt", "top1"): 0.125,
        },
    )
    assert lines(found) == [
        Line(["a", "b"], "zero_shot/prompt", True, None, of(top1=0.25)),
        Line(["c"], "zero_shot/prompt", True, None, of(top1=0.125)),
        Line(["a"], "mgdm/self", False, None, of(top1=0.5, top5=1.0)),
        Line(["a"], "mgdm/self@0.5", False, "0.5", of(top1=0.625)),
        Line(["a"], "mgdm/all", False, None, of(top1=0.75, top5=1.0)),
        Line(["a"], "mgdm/all@0.5", False, "0.5", of(top1=0.625)),
        Line(["b"], "mgdm/all", False, None, of(top1=0.5)),
    ]


def test_frozen_clip_in_episodes_is_not_taken_for_the_method():
    counts = {"nearest_class_mean/frozen_clip": 2, "nearest_class_mean/mgdm": 2}
    assert own_protocols(counts) == ["nearest_class_mean/mgdm"]
    assert own_protocols({"nearest_class_mean/frozen_clip": 2}) == []
    assert [is_frozen(each) for each in (*counts, "zero_shot/prompt")] == [True, False, True]


def test_every_context_has_a_line_in_the_artifacts_order_but_not_one_of_pairs_alone():
    counts = {"mgdm": 2, "mgdm/self": 4, "zero_shot/prompt": 4, "mgdm/all": 4, "mgdm/all@0.5": 4}
    assert own_protocols(counts) == ["mgdm/self", "mgdm/all"]


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"classes/toy@\w+ is not a comparison artifact"):
        lines(publish(Store(tmp_path), "classes", classes(["a"])))
