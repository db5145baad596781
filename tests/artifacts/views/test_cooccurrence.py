"""Co-occurring pairs with both directions' votes, the most voted for first."""

import pytest

from artifacts.store import Store
from artifacts.views.cooccurrence import ClassPair, strongest_pairs
from tests.published import classes, pairs, publish


def pair(first, other, votes, back, **facts):
    names = ("run", "sit", "wave")
    given = {"rounds": 5, "mean_position": None, "count": 0, "source": "llm"} | facts
    return ClassPair(
        class_id=first,
        other_id=other,
        class_name=names[first],
        other_name=names[other],
        votes=votes,
        votes_back=back,
        selected=votes > 2,
        **given,
    )


def test_pairs_by_votes_count_and_place(tmp_path):
    store = Store(tmp_path)
    known = publish(store, "classes", classes(["run", "sit", "wave"]))
    rows = pairs({(0, 0): 5, (0, 1): 2, (1, 0): 3, (0, 2): 3})
    rows += pairs({(2, 0): 3}, source="train", count=4)
    rows += pairs({(2, 1): 3}, mean_position=1.5)
    found = publish(store, "cooccurrence", rows, classes=known)
    expected = [
        pair(2, 0, 3, 3, source="train", count=4),
        pair(2, 1, 3, 0, mean_position=1.5),
        pair(0, 2, 3, 3),
        pair(1, 0, 3, 2),
        pair(0, 1, 2, 3),
    ]
    assert strongest_pairs(found, 10) == expected
    assert strongest_pairs(found, 2) == expected[:2]


def test_classes_that_are_not_known_have_no_names(tmp_path):
    [found] = strongest_pairs(publish(Store(tmp_path), "cooccurrence", pairs({(3, 4): 1})), 9)
    assert (found.class_id, found.class_name) == (3, None)
    assert (found.other_id, found.other_name) == (4, None)


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a co-occurrence artifact"):
        strongest_pairs(publish(Store(tmp_path), "classes", classes(["a"])), 1)
