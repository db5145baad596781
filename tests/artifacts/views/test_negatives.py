"""Candidates of videos, how many ended how, and the hardest of the first videos."""

import pytest

from artifacts.store import Store
from artifacts.views.negatives import (
    Candidate,
    StatusCount,
    VideoNegatives,
    candidates_by_status,
    nearest_negatives,
    negatives_of,
)
from tests.published import classes, publish, ranked


@pytest.fixture
def made(tmp_path):
    rows = ranked({f"v{i}": ["a", None, "b", "c", "d"] for i in range(3)})
    rows.append(rows[-1] | {"rank": None, "text_id": "toy/e", "name": "é", "cosine": -0.25})
    rows[-1] |= {"status": "synonym", "reason": "of d", "cooccurrence_votes": 4, "class_id": 7}
    rows.append({**rows[0], "video_id": "v3", "dataset_rank": 1})
    counts = {"synonym": 15, "kept": 12, "own_class": 3, "max_rank": 0}
    return publish(Store(tmp_path), "negatives", rows, report={"candidates": counts})


def candidate(video_id, rank, name, cosine, status="kept", **facts):
    """One as `ranked` makes them."""
    given = {"dataset_rank": None, "class_id": None, "cooccurrence_votes": None, "reason": None}
    given |= {"text_id": f"toy/{name}", "margin": 0.5 - cosine} | facts
    return Candidate(video_id=video_id, rank=rank, name=name, cosine=cosine, status=status, **given)


def test_candidates_of_a_video(made):
    rejected = {"class_id": 7, "cooccurrence_votes": 4, "reason": "of d", "margin": 0.5}
    assert negatives_of(made, "v2", 10) == [
        candidate("v2", 1, "a", 0.5),
        candidate("v2", None, "own", 0.375, "own_class"),
        candidate("v2", 2, "b", 0.25),
        candidate("v2", 3, "c", 0.125),
        candidate("v2", 4, "d", 0.0),
        candidate("v2", None, "é", -0.25, "synonym", text_id="toy/e", **rejected),
    ]
    assert [each.rank for each in negatives_of(made, "v2", 3)] == [1, None, 2]
    assert negatives_of(made, "v3", 10) == [candidate("v3", 1, "a", 0.5, dataset_rank=1)]


def test_candidates_by_status_in_the_order_of_the_tests(made):
    assert candidates_by_status(made) == [
        StatusCount("kept", 12, 0.4),
        StatusCount("own_class", 3, 0.1),
        StatusCount("synonym", 15, 0.5),
    ]


def test_hardest_negatives_of_the_first_videos(made):
    found = nearest_negatives(made, 2)
    assert found == [
        VideoNegatives(
            video_id,
            candidate(video_id, None, "own", 0.375, "own_class"),
            (
                candidate(video_id, 1, "a", 0.5),
                candidate(video_id, 2, "b", 0.25),
                candidate(video_id, 3, "c", 0.125),
            ),
        )
        for video_id in ("v0", "v1")
    ]
    assert nearest_negatives(made, 9)[3].own_class is None


def test_what_cannot_be_shown(made, tmp_path):
    other = publish(Store(tmp_path), "classes", classes(["a"]))
    with pytest.raises(ValueError, match="has no video 'v9'"):
        negatives_of(made, "v9", 1)
    for view in (lambda: negatives_of(other, "v0", 1), lambda: nearest_negatives(other, 1)):
        with pytest.raises(ValueError, match="is not a negatives artifact"):
            view()
