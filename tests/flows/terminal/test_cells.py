"""What people see of facts: literal text."""

import pytest

from artifacts.views.cooccurrence import ClassPair
from artifacts.views.metrics import Accuracy
from artifacts.views.negatives import Candidate, StatusCount, VideoNegatives
from flows.terminal.cells import (
    as_text,
    candidate_cells,
    nearest_cells,
    of_split,
    pair_cells,
    percent,
    status_cells,
)


def candidate(name, cosine, rank=None, **facts):
    given = {"video_id": "v", "dataset_rank": None, "text_id": "t", "class_id": None}
    given |= {"margin": 0.0, "cooccurrence_votes": None, "status": "kept", "reason": None}
    return Candidate(**given | facts, name=name, cosine=cosine, rank=rank)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.25, "0.25"),
        (1 / 3, "0.3333"),
        (True, "True"),
        (12, "12"),
        ([1, 2.5, None, "a"], "1, 2.5, , a"),
        ([1, 2, 3, 4, 5], "1, 2, 3, 4, ..."),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 57 + "..."),
    ],
)
def test_values(value, text):
    assert as_text(value) == text


def test_a_pair_and_one_of_unknown_classes():
    facts = {"class_id": 3, "other_id": 4, "votes": 4, "rounds": 5, "votes_back": 1, "count": 2}
    facts |= {"source": "llm"}
    names = {"class_name": "run", "other_name": "sit"}
    assert pair_cells(ClassPair(**facts, **names, mean_position=4 / 3, selected=True)) == {
        "class": "run",
        "co-occurs with": "sit",
        "votes": "4 of 5",
        "votes back": "1",
        "place": "1.333",
        "videos": "2",
        "source": "llm",
        "selected": "yes",
    }
    names = {"class_name": None, "other_name": None}
    cells = pair_cells(ClassPair(**facts, **names, mean_position=None, selected=False))
    assert [cells[name] for name in ("class", "co-occurs with", "place", "selected")] == [
        "3",
        "4",
        "",
        "",
    ]


def test_candidates_and_the_hardest_of_a_video():
    rejected = candidate(
        "sit", 0.125, margin=0.0625, cooccurrence_votes=4, status="cooccurring", reason="4 of 5"
    )
    assert candidate_cells(rejected) == {
        "rank": "",
        "dataset_rank": "",
        "name": "sit",
        "cosine": "0.125",
        "margin": "0.0625",
        "cooccurrence_votes": "4",
        "status": "cooccurring",
        "reason": "4 of 5",
    }
    hardest = (candidate("a", 0.5, 1), candidate("b" * 61, 0.3, 2), candidate("c", 0.2, 3))
    assert nearest_cells(VideoNegatives("v", candidate("own", 0.4), hardest)) == {
        "video": "v",
        "own class": "own 0.400",
        "hardest negatives": f"a 0.500, {'b' * 57}... 0.300, c 0.200",
    }
    assert nearest_cells(VideoNegatives("v", None, ()))["own class"] == ""
    counts = {"status": "min_margin", "candidates": "15", "%": "33.3"}
    assert status_cells(StatusCount("min_margin", 15, 1 / 3)) == counts


def test_accuracies_in_per_cent():
    assert [percent(share) for share in (None, 0.0, 0.12345, 1.0)] == ["", "0.0", "12.3", "100.0"]
    facts = {"protocol": "p", "is_frozen": False, "values": {"top1": 0.5}}
    assert of_split(Accuracy(**facts, split="test", num_videos=8)) == "8 of test"
    assert of_split(Accuracy(**facts, split="test", num_videos=None)) == ""
