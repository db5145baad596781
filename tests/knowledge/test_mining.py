"""Mined negatives equal the definition, and nothing true of a video ever is one."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import NEGATIVE_STATUS, schema_of
from artifacts.store import Store
from artifacts.tensors import append_tensor, read_tensor
from knowledge import corpus, mining, ranking
from knowledge.datasets.class_lists import normalised
from knowledge.filters import MiningConfig, read_filters
from knowledge.ivf_config import IvfConfig
from knowledge.mining import MiningJob, mine
from knowledge.shards import make_all, make_shard, missing_parts

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

    def publish_file(self, name, texts, vectors):
        """Texts of a file: (text, class or None) each."""
        named = list(dict.fromkeys(each for _, each in texts if each))
        rows = [
            {
                "text_id": f"{name}/{i}",
                "corpus": name,
                "class_id": named.index(each) if each else None,
                "source": "text",
                "name": each or text,
                "text": text,
                "feature_norm": 1.0,
            }
            for i, (text, each) in enumerate(texts)
        ]
        config = {"clip": CLIP, "hash": hash(vectors.tobytes())}
        return self.publish("text_embeddings", rows, config, {"embedding": vectors}, name)

    def publish_votes(self, votes):
        rows = [
            {
                "class_id": one,
                "other_id": other,
                "source": "llm",
                "votes": count,
                "rounds": 5,
                "count": 0,
                "selected": True,
            }
            for (one, other), count in votes.items()
        ]
        return self.publish("cooccurrence", rows, {"votes": str(votes)}, classes=self.classes)

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


def small_parts(patch, per_part, per_pass):
    patch.setattr(mining, "VIDEOS_PER_PART", per_part)
    patch.setattr(mining, "VIDEOS_PER_PASS", per_pass)


def job(made, root, **config):
    texts = tuple(made.texts)
    return MiningJob(Store(root), made.videos, made.frames, texts, MiningConfig(**config))


def test_bytes_do_not_depend_on_grouping_or_shards(tmp_path, monkeypatch):
    made = rich_world(tmp_path / "world", videos=23)
    small_parts(monkeypatch, 2, 2)
    one_by_one = make_all(job(made, tmp_path / "one", max_rejected=2)).artifact
    assert len(one_by_one.manifest.files) == 12
    small_parts(monkeypatch, 2, 10)
    grouped = make_all(job(made, tmp_path / "five", max_rejected=2)).artifact
    shared = job(made, tmp_path / "shards", max_rejected=2)
    assert make_shard(shared, [5, 7, 11]) is None
    assert missing_parts(shared) == [0, 1, 2, 3, 4, 6, 8, 9, 10]
    assert make_shard(shared, range(5)) is None
    outcome = make_shard(shared, range(12))
    assert (outcome.made, outcome.work) == (True, {"videos_mined": 8})
    assert missing_parts(shared) == []
    timed = ("duration_s", "videos_per_s")
    for each in (grouped, outcome.artifact):
        assert each.manifest.files == one_by_one.manifest.files
        reports = [x.manifest.report for x in (each, one_by_one)]
        assert len({str({k: v for k, v in r.items() if k not in timed}) for r in reports}) == 1


@pytest.mark.parametrize(
    ("start", "stop"), [(0, None), (0, 3), (5, 40), (9, 10), (50, None), (4, 4)]
)
def test_some_rows_of_an_artifact_of_many_parts(tmp_path, monkeypatch, start, stop):
    small_parts(monkeypatch, 4, 8)
    artifact = make_all(job(rich_world(tmp_path / "world"), tmp_path / "out")).artifact
    rows = [row for part in artifact.parts(["text_id"], start, stop) for row in part.to_pylist()]
    assert rows == artifact.read(["text_id"]).to_pylist()[start:stop]


class CrashError(Exception):
    pass


def test_mining_goes_on_at_the_first_missing_part(tmp_path, monkeypatch):
    made = rich_world(tmp_path / "world")
    small_parts(monkeypatch, 4, 8)
    seen = []

    def crash(done, total):
        seen.append((done, total))
        if done == 12:
            raise CrashError

    crashed = job(made, tmp_path / "crashed")
    with pytest.raises(CrashError):
        make_all(crashed, crash)
    assert seen == [(4, 30), (8, 30), (12, 30)]
    [draft] = crashed.store.drafts.iterdir()
    before = {path.name: path.stat().st_ino for path in draft.glob("part-*")}
    resumed = make_all(crashed)
    assert len(before) == 3
    assert resumed.work == {"videos_mined": 30 - 12}
    directory = Path(crashed.store.directory(resumed.artifact.ref))
    assert {name: (directory / name).stat().st_ino for name in before} == before
    undisturbed = make_all(job(made, tmp_path / "undisturbed")).artifact
    assert resumed.artifact.manifest.files == undisturbed.manifest.files


def test_parts_without_a_wanted_video_are_empty(tmp_path, monkeypatch):
    made = world(tmp_path)
    rows = made.videos.read().to_pylist()
    for row in rows[:7]:
        row["split"] = "val"
    made.videos = made.publish("videos", rows, {"labels": "split"}, classes=made.classes)
    table = made.frames.read()
    plain = table.select(plain_schema("frame_embeddings").names).to_pylist()
    tensors = {name: read_tensor(table, name) for name in ("feature_norms", "embedding")}
    made.frames = made.publish(
        "frame_embeddings", plain, {"clip": CLIP, "split": 1}, tensors, videos=made.videos
    )
    small_parts(monkeypatch, 2, 4)
    assert [row["video_id"] for row in made.mine(top_k=1, max_rejected=0)] == ["v7", "v8"]
    report = made.store.get("negatives/toy").manifest.report
    assert (report["videos"], report["fewest_negatives"], report["videos_short"]) == (2, 1, 0)


def many_texts(root):
    """A corpus large enough for two lists, beside the dataset's classes."""
    made = rich_world(root)
    rng = np.random.default_rng(8)
    texts = [(f"text {i}", None) for i in range(100)]
    made.texts[2:] = [made.publish_file("many", texts, unit(rng.standard_normal((100, 8))))]
    return made


def test_approximate_search_tells_its_recall(tmp_path, monkeypatch):
    made = many_texts(tmp_path)
    small_parts(monkeypatch, 4, 8)
    exact = made.mine(top_k=5, max_rejected=3)
    assert made.mine(top_k=5, max_rejected=3, ivf={"num_lists": 2, "num_probes": 2}) == exact
    assert made.store.get("negatives/toy").manifest.report["recall"] == 1
    ivf = IvfConfig(num_lists=2, num_probes=1)
    approximate = made.mine(top_k=5, max_rejected=3, ivf=ivf)
    assert approximate != exact
    artifact = made.store.get("negatives/toy")
    few = IvfConfig(num_lists=2, num_probes=1, num_measured=7)
    made.mine(ivf=few)
    assert made.store.get("negatives/toy").manifest.report["recall_videos"] == 8  # 1 of each part
    all_at_once = job(made, tmp_path / "all", top_k=5, max_rejected=3, ivf=ivf)
    small_parts(monkeypatch, 4, 100)
    assert make_all(all_at_once).artifact.manifest.files == artifact.manifest.files
    small_parts(monkeypatch, 100, 100)
    whole = job(made, tmp_path / "whole", top_k=5, max_rejected=3, ivf=ivf)
    [(_, videos, _)] = whole._looked([0])
    measured = whole.lists.recall(videos.embedding_ND, 5)
    assert artifact.manifest.report["recall"] == pytest.approx(measured.recall, abs=1e-6)
    assert artifact.manifest.report["recall_k"] == 5
    assert artifact.manifest.report["recall_videos"] == 30
    for row in approximate:
        assert (row["status"], row["rank"]) != ("kept", None) or row["dataset_rank"]
    with pytest.raises(ValueError, match="ivf has no effect without a further corpus"):
        world(tmp_path / "own", foreign=False).mine(ivf=ivf)


def test_lists_that_hold_too_few_texts_leave_videos_short(tmp_path):
    made = many_texts(tmp_path)
    rows = made.mine(top_k=90, ivf=IvfConfig(num_lists=2, num_probes=1))
    kept = Counter(row["video_id"] for row in rows if row["rank"])
    assert len(kept) == 30
    assert max(kept.values()) < 90
    report = made.store.get("negatives/toy").manifest.report
    assert (report["fewest_negatives"], report["videos_short"]) == (min(kept.values()), 30)
    ranks = [row["rank"] for row in rows if row["video_id"] == "v0" and row["rank"]]
    assert ranks == list(range(1, kept["v0"] + 1))


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
    votes = made.publish_votes({(own, other): 4})
    noted = [r for r in made.mine(votes) if r["video_id"] == "v0" and r["class_id"] == other]
    assert [(r["status"], r["cooccurrence_votes"]) for r in noted] == [("kept", 4)]
    strict = made.mine(votes, max_cooccurrence_votes=3)
    rejected = [r for r in strict if r["video_id"] == "v0" and r["class_id"] == other]
    assert [r["status"] for r in rejected] == ["cooccurring"]
    with pytest.raises(ValueError, match="has no effect without a co-occurrence artifact"):
        made.mine(max_cooccurrence_votes=3)


FILE = [
    ("someone does action c", "ActionC"),
    ("action d once more", "action d"),
    ("a third way of doing it", "unheard of"),
    ("an idle person", None),
    ("Action E!", None),  # only the name of a class: left out
    ("something", None),  # named by the class list before: left out
]


def rich_world(root, seed=0, videos=30):
    """Videos of up to three classes, a class list and a file of texts beside the dataset's."""
    rng = np.random.default_rng(seed)
    names = [f"action {chr(97 + i)}" for i in range(12)]
    labels = [
        tuple(sorted({int(each) for each in rng.integers(12, size=1 + i % 3)}))
        for i in range(videos)
    ]
    texts = unit(rng.standard_normal((12, 8)))
    lean = texts[[ids[0] for ids in labels]][:, None] * rng.choice([0.0, 1.0], (videos, 1, 1))
    frames = unit(lean + 0.4 * rng.standard_normal((videos, 3, 8))).astype(np.float16)
    listed = unit(rng.standard_normal((4, 8)))
    listed[1] = texts[3]  # the same action under another name
    made = World(
        root, names, texts, labels, frames, [(["ActionA", "another", "x", "something"], listed)]
    )
    vectors = unit(rng.standard_normal((len(FILE), 8)) + texts[0])
    made.texts.append(made.publish_file("file", FILE, vectors))
    pairs = {(i, (i + d) % 12): int(rng.integers(6)) for i in range(12) for d in (1, 5)}
    made.cooccurrence = made.publish_votes(pairs)
    made.votes = pairs
    return made


def literal(made, config):
    """Rows by (video, text) of the definition in `MiningConfig`, one candidate at a time."""
    frames = read_tensor(made.frames.read(), "embedding").astype(np.float32)
    rows = []
    for artifact in made.texts:
        table = artifact.read()
        for row, vector in zip(table.to_pylist(), read_tensor(table, "embedding"), strict=True):
            names = {normalised(each["name"]) for each in rows if not each["described"]}
            described = row["source"] == "text" and row["class_id"] is not None
            if artifact is not made.texts[0]:
                if not described and normalised(row["name"]) in names:
                    continue
                row["class_id"] = next(
                    (
                        i
                        for i, own in enumerate(rows[:12])
                        if row["source"] == "text"
                        and normalised(own["name"]) == normalised(row["name"])
                    ),
                    None,
                )
            rows.append(row | {"vector": vector.astype(float), "described": described})
    found = {}
    for i, truth in enumerate(made.labels):
        z = unit(frames[i].mean(0)).astype(float)
        cosines = [float(np.clip(np.round(row["vector"] @ z, 9), -1, 1)) for row in rows]
        own = max(truth, key=lambda c: cosines[c])
        everywhere = literal_ranking(made, config, rows, range(len(rows)), cosines, truth, own)
        among_own = literal_ranking(made, config, rows, range(12), cosines, truth, own)
        merged = []
        for j in sorted({*everywhere, *among_own}, key=lambda j: (-cosines[j], j)):
            ranks = [ranking.get(j, (None, None))[1] for ranking in (everywhere, among_own)]
            status = (everywhere.get(j) or among_own[j])[0] if ranks == [None, None] else "kept"
            merged.append(
                (rows[j]["text_id"], status, *ranks, cosines[j], cosines[own] - cosines[j])
            )
        rejected = [row[0] for row in merged if row[1] != "kept"][config.max_rejected :]
        found[f"v{i}"] = [row for row in merged if row[0] not in rejected]
    return found


def literal_ranking(made, config, rows, among, cosines, truth, own):
    found, rank, kept = {}, 0, 0
    for j in sorted(among, key=lambda j: (-cosines[j], j)):
        row, cosine, margin = rows[j], cosines[j], round(cosines[own] - cosines[j], 9)
        like = max(round(float(row["vector"] @ rows[c]["vector"]), 9) for c in truth)
        together = max(made.votes.get((c, row["class_id"]), 0) for c in truth)
        limit = config.max_cooccurrence_votes
        if row["class_id"] in truth:
            status = "synonym" if j >= 12 else "own_class" if j == own else "true_class"
        elif j >= 12 and like > config.synonym_cosine:
            status = "synonym"
        elif limit is not None and together > limit:
            status = "cooccurring"
        else:
            rank += 1
            share = config.max_relative_cosine
            bound = cosines[own] - (1 - (share or 1)) * abs(cosines[own])
            tests = {
                "skip_ranks": rank <= config.skip_ranks,
                "max_rank": config.max_rank is not None and rank > config.max_rank,
                "min_cosine": config.min_cosine is not None and cosine < config.min_cosine,
                "max_margin": config.max_margin is not None and margin > config.max_margin,
                "max_cosine": config.max_cosine is not None and cosine > config.max_cosine,
                "min_margin": config.min_margin is not None and margin < config.min_margin,
                "max_relative_cosine": share is not None and cosine > round(bound, 9),
            }
            status = next((name for name, failed in tests.items() if failed), "kept")
        kept += status == "kept"
        found[j] = (status, kept if status == "kept" else None)
        if kept == config.top_k or status == "max_rank":
            break
        if config.min_cosine is not None and cosine < config.min_cosine:
            break
        if config.max_margin is not None and margin > config.max_margin:
            break
    return found


EVERYTHING = {
    "top_k": 3,
    "synonym_cosine": 0.8,
    "max_cooccurrence_votes": 3,
    "skip_ranks": 1,
    "max_rank": 7,
    "min_cosine": -0.35,
    "max_cosine": 0.8,
    "min_margin": 0.1,
    "max_margin": 1.0,
    "max_relative_cosine": 0.6,
    "max_rejected": 40,
}


def equal_to_the_literal_definition(made, config):
    found = made.mine(made.cooccurrence, **config.model_dump())
    expected = literal(made, config)
    for video_id, wanted in expected.items():
        rows = [row for row in found if row["video_id"] == video_id]
        seen = [(r["text_id"], r["status"], r["rank"], r["dataset_rank"]) for r in rows]
        assert seen == [row[:4] for row in wanted]
        np.testing.assert_allclose([r["cosine"] for r in rows], [r[4] for r in wanted], atol=1e-6)
        np.testing.assert_allclose([r["margin"] for r in rows], [r[5] for r in wanted], atol=1e-6)
    assert len(found) == sum(map(len, expected.values()))
    return found


def test_every_status_is_met_and_has_a_reason(tmp_path):
    made = rich_world(tmp_path, seed=3, videos=60)
    found = equal_to_the_literal_definition(made, MiningConfig(**EVERYTHING))
    assert {row["status"] for row in found} == set(NEGATIVE_STATUS)
    assert len(NEGATIVE_STATUS) == 12
    words = {
        status: {r["reason"] for r in found if r["status"] == status} for status in NEGATIVE_STATUS
    }
    assert words.pop("kept") == {None}
    patterns = {
        "own_class": r"is action [a-l]",
        "true_class": r"is action [a-l]",
        "synonym": r"(text cosine (0\.\d+|1) to|same name as) action [a-l]",
        "cooccurring": r"[45] rounds name it with a true class",
        "skip_ranks": r"among the nearest 1",
        "max_rank": r"after the nearest 7",
        "min_cosine": r"cosine -[\d.]+ is below -0\.35",
        "max_margin": r"margin 1\.\d+ is above 1",
        "max_cosine": r"cosine 0\.\d+ is above 0\.8",
        "min_margin": r"margin -?[\d.e-]+ is below 0\.1",
        "max_relative_cosine": r"cosine -?[\d.e-]+ is above 0\.6 of -?[\d.e-]+",
    }
    for status, pattern in patterns.items():
        assert all(re.fullmatch(pattern, each) for each in words[status]), (status, words[status])
    report = made.store.get("negatives/toy").manifest.report
    assert report["candidates"] == dict(Counter(row["status"] for row in found))
    assert report["rejected_unlisted"] == 0


@pytest.fixture(scope="module")
def rich_worlds(tmp_path_factory):
    return [rich_world(tmp_path_factory.mktemp("worlds") / str(seed), seed) for seed in range(3)]


bound = st.floats(-0.5, 0.9).map(lambda value: round(value, 2))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, 2),
    st.fixed_dictionaries(
        {
            "top_k": st.integers(1, 20),
            "skip_ranks": st.integers(0, 4),
            "max_rejected": st.integers(0, 9),
        },
        optional={
            "min_cosine": bound,
            "max_cosine": bound,
            "min_margin": bound,
            "max_margin": bound.map(abs),
            "max_relative_cosine": st.sampled_from([0.5, 0.95, 1.0]),
            "max_cooccurrence_votes": st.integers(0, 5),
            "synonym_cosine": st.sampled_from([0.3, 0.9]),
        },
    ),
    st.integers(1, 3),
)
def test_any_filters_equal_the_literal_definition(rich_worlds, seed, values, slack):
    """Whatever is fetched at first: a small slack makes the search grow."""
    try:
        config = MiningConfig(**values)
    except ValidationError:
        assume(False)
    made = rich_worlds[seed]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "SLACK", slack)
        patch.setattr(ranking, "JUDGED", 64)
        equal_to_the_literal_definition(made, config)


def test_embeddings_read_anew_by_each_pass_change_nothing(tmp_path, monkeypatch):
    held = rich_world(tmp_path / "held").mine(top_k=9, synonym_cosine=0.5)
    monkeypatch.setattr(corpus, "HELD_BYTES", 0)
    monkeypatch.setattr(ranking, "SLACK", 1)
    monkeypatch.setattr(ranking, "SEARCHED", 100)
    assert rich_world(tmp_path / "read").mine(top_k=9, synonym_cosine=0.5) == held


def test_rejected_candidates_are_bounded_per_video_and_all_are_counted(tmp_path):
    made = rich_world(tmp_path)
    everything = made.mine(max_cosine=0.3, max_rejected=50)
    few = made.mine(max_cosine=0.3, max_rejected=2)
    reports = [
        made.store.get(f"negatives/toy@{item.manifest.key[:16]}").manifest.report
        for item in made.store.published("negatives")
    ]
    assert reports[0]["candidates"] == reports[1]["candidates"]
    assert reports[0]["rejected_unlisted"] == 0
    assert reports[1]["rejected_unlisted"] == len(everything) - len(few) > 0
    for i in range(len(made.labels)):
        rows = [row for row in everything if row["video_id"] == f"v{i}"]
        kept = [row for row in rows if row["status"] == "kept"]
        rejected = [row for row in rows if row["status"] != "kept"][:2]
        expected = sorted(kept + rejected, key=lambda row: rows.index(row))
        assert [row for row in few if row["video_id"] == f"v{i}"] == expected


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_cosine": 0.5, "max_cosine": 0.5}, "min_cosine=0.5 and max_cosine=0.5 leave no"),
        ({"min_margin": 0.5, "max_margin": 0.1}, "min_margin=0.5 and max_margin=0.1 leave no"),
        ({"max_rank": 9}, r"max_rank=9 leaves 9 ranks after skip_ranks=0.*set top_k=9"),
        ({"max_rank": 3, "skip_ranks": 3}, r"leaves 0 ranks.*set skip_ranks below it"),
        ({"max_rank": 40}, r"max_rank=40 has no effect.*leave it out"),
        ({"splits": ()}, "splits"),
    ],
)
def test_settings_that_contradict_or_do_nothing_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        MiningConfig(**values)


def test_filters_are_read_from_lines():
    assert read_filters(["min_margin=0.05", 'splits=["val"]'], "--filter") == MiningConfig(
        min_margin=0.05, splits=("val",)
    )
    for line, message in {
        "margin=1": r"--filter 'margin=1': write NAME=VALUE, where NAME is one of top_k,",
        "min_margin": "write NAME=VALUE",
        "min_margin=low": "'low' is not JSON",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_filters([line], "--filter")
    with pytest.raises(ValueError, match="top_k is given twice"):
        read_filters(["top_k=3", "top_k=4"], "--filter")


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


def test_a_synonym_cosine_without_further_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"synonym_cosine=0.5 has no effect without"):
        world(tmp_path, foreign=False).mine(synonym_cosine=0.5)


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
