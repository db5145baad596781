"""What people see of a difference: literal text."""

import pytest

from artifacts.store import Store
from artifacts.views.difference import compare
from flows.terminal.difference import lines, tables
from tests.published import classes, pairs, publish, ranked


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_negatives_that_came_went_and_moved(store):
    before = ranked({"v0": [None, "a", "b", "c"], "v1": ["a", "b", None], "gone": ["a"]})
    after = ranked({"v0": ["c", "a", None, "d"], "v1": ["a", "d"], "come": ["a"]})
    one = publish(store, "negatives", before, {"top_k": 3})
    two = publish(store, "negatives", after, {"top_k": 4}, one=one)
    found = compare(one, two, 10)
    assert lines(found) == {
        "videos": "2 in both, 1 only before, 1 only after",
        "negatives of these videos": "5 before, 5 after",
        "hard no more": "2",
        "new": "2",
        "in both": "3, of which 2 moved",
        "mean rank change": "1.00",
    }
    assert tables(found) == {
        "made differently": [
            {"what": "config top_k", "before": "3", "after": "4"},
            {"what": "input one", "before": "", "after": str(one.ref)},
        ],
        "texts that are hard no more": [
            {"text": "b", "id": "toy/b", "videos": "2", "mean rank": "2.0"}
        ],
        "texts that became hard": [{"text": "d", "id": "toy/d", "videos": "2", "mean rank": "2.5"}],
        "moved farthest": [
            {"video": "v0", "text": "c", "rank": "3 -> 1", "cosine": "0.125 -> 0.500"},
            {"video": "v0", "text": "a", "rank": "1 -> 2", "cosine": "0.375 -> 0.375"},
        ],
    }
    strangers = compare(one, publish(store, "negatives", ranked({"v": ["a"]}), {"top_k": 5}), 10)
    assert "mean rank change" not in lines(strangers)
    assert list(tables(strangers)) == ["made differently"]


def test_changed_pairs(store):
    one, other = (
        publish(store, "classes", classes(names), {"names": names})
        for names in (["run", "sit", "wave"], ["wave", "sit", "run"])
    )
    before = pairs({(0, 1): 5, (1, 0): 2, (0, 2): 1})
    after = pairs({(2, 1): 1, (1, 2): 2, (1, 0): 4})
    found = compare(
        publish(store, "cooccurrence", before, classes=one),
        publish(store, "cooccurrence", after, classes=other),
        10,
    )
    assert lines(found) == {
        "pairs": "3 before, 3 after, 3 changed",
        "selected no more": "1",
        "newly selected": "1",
    }
    assert tables(found)["changed pairs"] == [
        {"class": "run", "co-occurs with": "sit", "votes": "5 -> 1", "selected": "yes -> no"},
        {"class": "sit", "co-occurs with": "wave", "votes": "none -> 4", "selected": "none -> yes"},
        {"class": "run", "co-occurs with": "wave", "votes": "1 -> none", "selected": "no -> none"},
    ]


def test_other_kinds(store):
    one = publish(store, "classes", classes(["a", "b"]), {"x": {"y": 1}})
    two = publish(store, "classes", classes(["a", "b", "c"]), {"x": {"y": None}, "z": None})
    found = compare(one, two, 10)
    assert lines(found) == {"rows": "2 before, 3 after", "by class_id": "0 gone, 1 new, 2 in both"}
    assert tables(found) == {
        "made differently": [
            {"what": "config x y", "before": "1", "after": "None"},
            {"what": "config z", "before": "", "after": "None"},
        ]
    }
    assert lines(compare(one, one, 10)) == {"content": "the same"}
    assert tables(compare(one, one, 10)) == {}
