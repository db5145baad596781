"""What changed between two artifacts, against counting by hand."""

import pytest

from artifacts.store import Store
from artifacts.views.difference import (
    Difference,
    NegativeChanges,
    Overlap,
    PairChange,
    PairChanges,
    RankChange,
    RowChanges,
    SettingChange,
    TextCount,
    compare,
)
from tests.published import classes, pairs, publish, ranked


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_negatives_that_came_went_and_moved(store):
    before = ranked({"v0": [None, "a", "b", "c"], "v1": ["a", "b", None], "gone": ["a"]})
    after = ranked({"v0": ["c", "a", None, "d"], "v1": ["a", "d"], "come": ["a"]})
    one = publish(store, "negatives", before, {"top_k": 3})
    two = publish(store, "negatives", after, {"top_k": 4}, one=one)
    changes = NegativeChanges(
        videos=Overlap(num_gone=1, num_new=1, num_both=2),
        negatives=Overlap(num_gone=2, num_new=2, num_both=3),
        num_moved=2,
        mean_rank_change=1.0,
        gone=(TextCount("toy/b", "b", num_videos=2, mean_rank=2.0),),
        new=(TextCount("toy/d", "d", num_videos=2, mean_rank=2.5),),
        moved=(
            RankChange("v0", "toy/c", "c", 3, 1, cosine_before=0.125, cosine_after=0.5),
            RankChange("v0", "toy/a", "a", 1, 2, cosine_before=0.375, cosine_after=0.375),
        ),
    )
    settings = (
        SettingChange("config top_k", 3, 4, "both"),
        SettingChange("input one", None, str(one.ref), "after"),
    )
    assert compare(one, two, 10) == Difference(str(one.ref), str(two.ref), settings, changes)
    assert compare(one, two, 1).changes.moved == changes.moved[:1]


def test_nothing_in_both(store):
    one = publish(store, "negatives", ranked({"v0": ["a"]}))
    two = publish(store, "negatives", ranked({"v1": ["a"]}), {"top_k": 1})
    changes = compare(one, two, 10).changes
    assert changes.videos == Overlap(num_gone=1, num_new=1, num_both=0)
    assert (changes.mean_rank_change, changes.num_moved, changes.moved) == (None, 0, ())


def test_changed_pairs_by_name(store):
    names = ["run", "sit", "wave"]
    one, other = (
        publish(store, "classes", classes(order), {"order": order})
        for order in (names, names[::-1])
    )
    before = pairs({(0, 1): 5, (1, 0): 2, (0, 2): 1, (0, 0): 5})
    after = pairs({(2, 1): 1, (1, 2): 2, (1, 0): 4, (0, 0): 1})
    found = compare(
        publish(store, "cooccurrence", before, classes=one),
        publish(store, "cooccurrence", after, classes=other),
        10,
    )
    assert found.changes == PairChanges(
        num_before=3,
        num_after=3,
        num_changed=3,
        num_selected_gone=1,
        num_selected_new=1,
        pairs=(
            PairChange("run", "sit", 5, 1, selected_before=True, selected_after=False),
            PairChange("sit", "wave", None, 4, selected_before=None, selected_after=True),
            PairChange("run", "wave", 1, None, selected_before=False, selected_after=None),
        ),
    )
    [setting] = found.settings
    assert setting == SettingChange("input classes", str(one.ref), str(other.ref), "both")


def test_other_kinds_by_key_and_manifest(store):
    one = publish(store, "classes", classes(["a", "b"]), {"x": {"y": 1}})
    two = publish(store, "classes", classes(["a", "b", "c"]), {"x": {"y": 2.5}, "z": None})
    found = compare(one, two, 10)
    assert found.changes == RowChanges(2, 3, ("class_id",), Overlap(0, 1, 2))
    assert found.settings == (
        SettingChange("config x y", 1, 2.5, "both"),
        SettingChange("config z", None, None, "after"),
    )
    assert compare(one, one, 10) == Difference(str(one.ref), str(one.ref), (), None)
    with pytest.raises(ValueError, match="of different kinds"):
        compare(one, publish(store, "negatives", ranked({"v": ["a"]})), 10)
