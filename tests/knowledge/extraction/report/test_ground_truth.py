"""Ground truth: a file of counts says the same as videos, and lift is its definition."""

import numpy as np
import pandas as pd
import pytest

from artifacts.store import Store
from knowledge.datasets.registration import register_classes
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.report.ground_truth import Truth, truth_of_csv, truth_of_videos
from tests.class_rows import publish_videos

NAMES = ["walk", "run", "sit", "wave", "clap"]
LABELS = [[0, 1], [0, 1, 1, 2], [], [3], [0]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def classes(store):
    listed = {"class_id": range(5), "name": NAMES, "group": "all"}
    return register_classes(store, "five", pd.DataFrame(listed)).artifact


def test_truth_from_csv_is_that_of_the_videos(store, classes, tmp_path):
    counts = {}
    for ids in map(set, LABELS):
        for pair in {(i, j) for i in ids for j in ids if i <= j}:
            counts[pair] = counts.get(pair, 0) + 1
    lines = [f"{NAMES[j].upper()},{NAMES[i]},{n}" for (i, j), n in counts.items()]
    path = tmp_path / "truth.csv"
    actions = read_action_classes(classes)
    splits = ["train", "test", "val", "train", "test"]  # all of them count
    one = truth_of_videos(publish_videos(store, classes, LABELS, splits), classes)
    assert one.occurrences.tolist() == [3, 2, 1, 1, 0]
    assert one.num_videos == 4  # the one without labels tells nothing
    path.write_text("\n".join(["class,other,count", *lines, "*,*,4"]))
    other = truth_of_csv(path, actions)
    for name in ("counts", "occurrences", "num_videos", "lift"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    path.write_text("\n".join(["class,other,count", *lines]))
    assert truth_of_csv(path, actions).lift is None
    path.write_text("class,other,count\nrun,sit,7\n*,*,4")
    truth = truth_of_csv(path, actions)
    assert truth.counts.sum() == 14
    assert truth.occurrences.tolist() == [0, 7, 7, 0, 0]
    assert truth.lift is None  # how many videos hold each class is not known


def test_lift():
    counts = np.array([[6, 3, 0], [3, 3, 0], [0, 0, 2]])
    lift = Truth("drawn", counts, np.array([6, 3, 2]), 12).lift
    assert lift[0, 1] == lift[1, 0] == (3 + 0.5) / (6 * 3 / 12 + 0.5)
    assert lift[0, 2] == 0.5 / (1 + 0.5)
    independent = Truth("drawn", np.full((2, 2), 3), np.array([6, 6]), 12).lift
    assert independent[0, 1] == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["class,other,number", "walk,run,1"], "column 'count' is missing; give class, other"),
        (["class,other,count", "walk,run,1", "walk,fly,1"], "line 3: class 'fly' is not in the"),
        (["class,other,count", "walk,run,-1"], "line 2: count '-1' is no whole number"),
        (["class,other,count", "walk,run,1", "run,walk,2"], "line 3: 'run' and 'walk' had another"),
        (["class,other,count", "walk,*,1"], "line 2: class '\\*' is not in the class list"),
        (
            ["class,other,count", "*,*,9", "walk,walk,3", "run,run,2", "walk,run,3"],
            "'run' and another are in more videos than 'run' or '\\*'; correct that",
        ),
        (["class,other,count", "*,*,2", "walk,walk,3"], "'walk' and another are in more"),
    ],
)
def test_csv_errors(store, tmp_path, lines, message):
    listed = {"class_id": [0, 1], "name": ["walk", "run"], "group": "all"}
    classes = register_classes(store, "two", pd.DataFrame(listed)).artifact
    path = tmp_path / "truth.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        truth_of_csv(path, read_action_classes(classes))
