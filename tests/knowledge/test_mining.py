"""Mined negatives equal the definition, and nothing true of a video ever is one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from knowledge import mining
from knowledge.datasets.class_lists import normalised
from knowledge.mining import MiningConfig, mine

CLIP = {"arch": "toy", "weights_sha256": "0"}


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def plain_schema(kind):
    columns = [c for c in schema_of(kind).columns if not c.is_tensor]
    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])


class World:
    """Artifacts made of given numbers: no videos are decoded, no model is run."""

    def __init__(self, root, names, texts_MD, labels, frames_NTD, foreign=(), split="train"):
        self.store, self.labels = Store(root), labels
        self.classes = self.publish_classes("toy", names)
        videos = [
            {
                "video_id": f"v{i}",
                "path": f"v{i}.mp4",
                "split": split,
                "class_ids": list(ids),
                "status": "ok",
            }
            for i, ids in enumerate(labels)
        ]
        self.videos = self.publish("videos", videos, {"labels": str(labels)}, classes=self.classes)
        rows = [{"video_id": v["video_id"], "frame_pts": [], "status": "ok"} for v in videos]
        self.frames = self.publish(
            "frame_embeddings",
            rows,
            {"clip": CLIP, "hash": hash(frames_NTD.tobytes())},
            {"feature_norms": np.ones(frames_NTD.shape[:2], np.float32), "embedding": frames_NTD},
            videos=self.videos,
        )
        self.texts = [self.publish_texts("toy", self.classes, names, texts_MD)]
        for i, (other, vectors) in enumerate(foreign):
            classes = self.publish_classes(f"other{i}", other)
            self.texts.append(self.publish_texts(f"other{i}", classes, other, vectors))

    def publish(self, kind, rows, config, tensors=None, name="toy", **inputs):
        table = pa.Table.from_pylist(rows, schema=plain_schema(kind))
        for column, values in (tensors or {}).items():
            table = append_tensor(table, column, values)
        given = Provenance(kind=kind, name=name, config=config, inputs=dict(inputs_of(**inputs)))
        return self.store.find(given) or self.store.publish(given, table)

    def publish_classes(self, name, names):
        rows = [
            {
                "class_id": i,
                "name": each,
                "prompt_name": each,
                "group": "all",
                "is_base_75": True,
                "is_base_50": True,
            }
            for i, each in enumerate(names)
        ]
        return self.publish("classes", rows, {"names": list(names)}, name=name)

    def publish_texts(self, name, classes, names, vectors):
        rows = [
            {
                "text_id": f"{name}/{i}/prompt",
                "corpus": name,
                "class_id": i,
                "source": "prompt",
                "name": each,
                "text": each,
                "feature_norm": 1.0,
            }
            for i, each in enumerate(names)
        ]
        config = {"clip": CLIP, "hash": hash(vectors.tobytes())}
        return self.publish(
            "text_embeddings", rows, config, {"embedding": vectors}, name, classes=classes
        )

    def mine(self, cooccurrence=None, **config):
        outcome = mine(
            self.store,
            self.videos,
            self.frames,
            self.texts,
            MiningConfig(**config),
            cooccurrence,
        )
        return outcome.artifact.read().to_pylist()


def world(root, seed=0, classes=12, videos=9, foreign=True, **fields):
    rng = np.random.default_rng(seed)
    names = [f"action {chr(97 + i)}" for i in range(classes)]
    labels = [tuple(sorted({int(rng.integers(classes))})) for _ in range(videos)]
    texts = unit(rng.standard_normal((classes, 8)))
    frames = unit(rng.standard_normal((videos, 3, 8))).astype(np.float16)
    others = []
    if foreign:
        other = ["ActionA", "another", "action_b", "something"]
        vectors = unit(rng.standard_normal((4, 8)))
        vectors[1] = texts[3]  # the same action under another name
        others = [(other, vectors)]
    return World(root, names, texts, labels, frames, others, **fields)


def test_negatives_equal_the_literal_definition(tmp_path):
    """For each video: sort all texts by cosine to norm(mean_t norm f_t), drop the own class."""
    made = world(tmp_path, foreign=False)
    rows = made.mine(top_k=5, synonym_cosine=0.01)  # own classes are never synonyms
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
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
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


def test_parts_change_nothing_but_the_memory(tmp_path, monkeypatch):
    whole = world(tmp_path / "whole")
    rows = whole.mine(top_k=5)
    monkeypatch.setattr(mining, "VIDEOS_PER_PART", 2)
    parted = world(tmp_path / "parted")
    assert [without_cosines(row) for row in parted.mine(top_k=5)] == [
        without_cosines(row) for row in rows
    ]
    one, five = (w.store.get("negatives/toy").manifest for w in (whole, parted))
    assert [len(manifest.files) for manifest in (one, five)] == [1, 5]
    timed = ("duration_s", "videos_per_s")
    reports = [{k: v for k, v in m.report.items() if k not in timed} for m in (one, five)]
    assert reports[0] == reports[1]


def without_cosines(row):
    return {name: row[name] for name in row if name not in ("cosine", "margin", "reason")}


def test_few_texts_give_few_negatives_without_padding(tmp_path):
    made = world(tmp_path, classes=4, foreign=False)
    rows = made.mine(top_k=16)
    kept = [r for r in rows if r["status"] == "kept"]
    assert len(kept) == 3 * len(made.labels)
    report = made.store.get("negatives/toy").manifest.report
    assert report["fewest_negatives"] == 3
    assert report["duration_s"] >= 0
    assert report["videos_per_s"] > 0


def test_cooccurrence_votes_are_noted_and_can_reject(tmp_path):
    made = world(tmp_path, foreign=False)
    own = made.labels[0][0]
    other = (own + 1) % 12
    row = {
        "class_id": own,
        "other_id": other,
        "source": "llm",
        "votes": 4,
        "rounds": 5,
        "count": 0,
        "selected": True,
    }
    votes = made.publish("cooccurrence", [row], {}, classes=made.classes)
    noted = [r for r in made.mine(votes) if r["video_id"] == "v0" and r["class_id"] == other]
    assert [(r["status"], r["cooccurrence_votes"]) for r in noted] == [("kept", 4)]
    strict = made.mine(votes, max_cooccurrence_votes=3)
    rejected = [r for r in strict if r["video_id"] == "v0" and r["class_id"] == other]
    assert [r["status"] for r in rejected] == ["cooccurring"]
    with pytest.raises(ValueError, match="has no effect without a co-occurrence artifact"):
        made.mine(max_cooccurrence_votes=3)


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
