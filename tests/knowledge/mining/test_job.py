"""Mined negatives equal the definition, and nothing true of a video ever is one."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knowledge.datasets.class_names import normalised
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import mine
from tests.knowledge.mining.world import FILE, rich_world, unit, world


def test_negatives_equal_the_literal_definition(tmp_path):
    """For each video: sort all texts by cosine to norm(mean_t norm f_t), drop the own class."""
    made = world(tmp_path, foreign=False)
    rows = made.mine(top_k=5)
    frames = np.stack(
        [np.frombuffer(r, np.float16) for r in made.frames.read()["embedding"].to_pylist()]
    )
    texts = np.stack(
        [np.frombuffer(r, np.float32) for r in made.texts[0].read()["embedding"].to_pylist()]
    )
    for i, (own,) in enumerate(made.labels):
        z = unit(frames[i].reshape(3, 8).astype(np.float32).mean(0)).astype(float)
        cosines = (texts.astype(float) @ z).round(9)
        ranked = [j for j in np.argsort(-cosines, kind="stable") if j != own][:5]
        kept = [r for r in rows if r["video_id"] == f"v{i}" and r["status"] == "kept"]
        assert [r["class_id"] for r in kept] == ranked
        assert [r["rank"] for r in kept] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose([r["cosine"] for r in kept], cosines[ranked], atol=1e-6)
        margins = cosines[own] - cosines[ranked]
        np.testing.assert_allclose([r["margin"] for r in kept], margins, atol=1e-6)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 10**6), st.integers(2, 14), st.integers(1, 30))
def test_nothing_true_of_a_video_is_ever_a_negative(tmp_path, seed, classes, top_k):
    made = world(tmp_path / f"{seed}-{classes}-{top_k}", seed, max(classes, 4), 6)
    rows = made.mine(top_k=top_k)
    assert rows
    names = made.classes.read()["name"].to_pylist()
    for i, ids in enumerate(made.labels):
        own = {normalised(names[j]) for j in ids}
        mine_ = [r for r in rows if r["video_id"] == f"v{i}"]
        kept = [r for r in mine_ if r["status"] == "kept"]
        for rank, classes_only in (("rank", False), ("dataset_rank", True)):
            ranked = [r for r in kept if r[rank] and not (classes_only and r["class_id"] is None)]
            assert [r[rank] for r in ranked] == list(range(1, len(ranked) + 1))
            assert len(ranked) <= top_k
        assert all(r["rank"] or r["dataset_rank"] for r in kept)
        assert not any(r["dataset_rank"] for r in kept if r["class_id"] is None)
        assert not {r["class_id"] for r in kept} & set(ids)
        assert not {normalised(r["name"]) for r in kept} & own
        assert len({normalised(r["name"]) for r in kept}) == len(kept)
        assert all(r["class_id"] is None or r["class_id"] >= 0 for r in kept)
        assert [r["cosine"] for r in kept] == sorted((r["cosine"] for r in kept), reverse=True)
        rejected = [r for r in mine_ if r["status"] != "kept"]
        assert all(r["reason"] and not r["rank"] and not r["dataset_rank"] for r in rejected)
        if 3 in ids:
            assert "another" not in {r["name"] for r in kept}


def test_a_union_corpus_still_ranks_the_datasets_own_classes(tmp_path):
    union = world(tmp_path / "union")
    own = world(tmp_path / "own", foreign=False)
    assert [
        (r["video_id"], r["dataset_rank"], r["class_id"])
        for r in union.mine(top_k=5)
        if r["dataset_rank"]
    ] == [(r["video_id"], r["rank"], r["class_id"]) for r in own.mine(top_k=5) if r["rank"]]


def test_few_texts_give_few_negatives_without_padding(tmp_path):
    made = world(tmp_path, classes=4, foreign=False)
    rows = made.mine(top_k=16)
    kept = [r for r in rows if r["status"] == "kept"]
    assert len(kept) == 3 * len(made.labels)
    report = made.store.get("negatives/toy").manifest.report
    assert report["fewest_negatives"] == 3
    assert report["duration_s"] >= 0
    assert report["videos_per_s"] > 0


def test_a_text_of_a_file_counts_for_the_class_it_names(tmp_path):
    made = rich_world(tmp_path)
    rows = made.mine(top_k=20, max_rejected=20)
    of_c = [row for row in rows if row["text_id"] == "file/0"]
    assert {row["class_id"] for row in of_c} == {2}
    assert not any(row["dataset_rank"] for row in of_c)
    for row in of_c:
        own = 2 in made.labels[int(row["video_id"][1:])]
        assert (row["status"], row["rank"] is None) == (
            ("synonym", True) if own else ("kept", False)
        )
    assert {row["class_id"] for row in rows if row["text_id"] == "file/2"} == {None}
    assert not {row["text_id"] for row in rows} & {"file/4", "file/5"}
    assert made.store.get("negatives/toy").manifest.report["repeated_names"] == 3


def test_corpora_that_cannot_be_told_apart_are_refused(tmp_path):
    made = rich_world(tmp_path)
    made.texts.append(made.texts[-1])
    with pytest.raises(ValueError, match=r"two corpora are called 'file'"):
        made.mine()
    narrow = unit(np.ones((len(FILE), 4)))
    made.texts[-2:] = [made.publish_file("narrow", FILE, narrow)]
    with pytest.raises(
        ValueError, match="has embeddings of 4 dimensions, the dataset's texts of 8"
    ):
        made.mine()


def test_only_the_wanted_splits_are_mined(tmp_path):
    made = world(tmp_path, split="test")
    with pytest.raises(ValueError, match="no usable video in split train"):
        made.mine()
    assert {r["video_id"] for r in made.mine(splits=("test",))} == {f"v{i}" for i in range(9)}


def test_inputs_that_do_not_belong_together_are_refused(tmp_path):
    made, other = world(tmp_path), world(tmp_path, seed=1)
    args = (made.store, made.videos)
    with pytest.raises(ValueError, match="was made from other videos"):
        mine(*args, other.frames, made.texts, MiningConfig())
    with pytest.raises(ValueError, match="the first texts must be of the classes"):
        mine(*args, made.frames, made.texts[::-1], MiningConfig())
