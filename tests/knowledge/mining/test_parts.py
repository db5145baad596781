"""Mining in parts, passes and shards: none of them changes what is mined."""

from pathlib import Path

import numpy as np
import pytest

from artifacts.jobs import make_all, missing_parts
from artifacts.tensors import read_tensor
from knowledge.mining.candidates import rank_candidates
from knowledge.mining.corpus import read_corpus
from knowledge.mining.filters import NegativeFilter
from knowledge.mining.job import nearest_rejected, negatives_table
from knowledge.mining.videos import read_mined_videos
from tests.jobs import make_shard
from tests.knowledge.mining.world import CLIP, job, plain_schema, rich_world, small, world


def test_parts_change_nothing_but_the_memory(tmp_path):
    whole = world(tmp_path / "whole")
    rows = whole.mine(top_k=5)
    parted = world(tmp_path / "parted")
    assert [without_cosines(row) for row in parted.mine(sizes={"videos_per_part": 2}, top_k=5)] == [
        without_cosines(row) for row in rows
    ]
    one, five = (w.store.get("negatives/toy").manifest for w in (whole, parted))
    assert [len(manifest.files) for manifest in (one, five)] == [1, 5]
    timed = ("duration_s", "videos_per_s")
    reports = [{k: v for k, v in m.report.items() if k not in timed} for m in (one, five)]
    assert reports[0] == reports[1]


def test_bytes_do_not_depend_on_grouping_or_shards(tmp_path):
    made = rich_world(tmp_path / "world", videos=23)
    one_by_one = make_all(job(made, tmp_path / "one", small(2, 2), max_rejected=2)).artifact
    assert len(one_by_one.manifest.files) == 12
    grouped = make_all(job(made, tmp_path / "five", small(2, 10), max_rejected=2)).artifact
    shared = job(made, tmp_path / "shards", small(2, 10), max_rejected=2)
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
def test_some_rows_of_an_artifact_of_many_parts(tmp_path, start, stop):
    made = rich_world(tmp_path / "world")
    artifact = make_all(job(made, tmp_path / "out", small(4, 8))).artifact
    rows = [row for part in artifact.parts(["text_id"], start, stop) for row in part.to_pylist()]
    assert rows == artifact.read(["text_id"]).to_pylist()[start:stop]


class CrashError(Exception):
    pass


def test_mining_goes_on_at_the_first_missing_part(tmp_path):
    made = rich_world(tmp_path / "world")
    seen = []

    def crash(done, total):
        seen.append((done, total))
        if done == 12:
            raise CrashError

    crashed = job(made, tmp_path / "crashed", small(4, 8))
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
    undisturbed = make_all(job(made, tmp_path / "undisturbed", small(4, 8))).artifact
    assert resumed.artifact.manifest.files == undisturbed.manifest.files


def test_parts_without_a_wanted_video_are_empty(tmp_path):
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
    rows = made.mine(sizes=small(2, 4), top_k=1, max_rejected=0)
    assert [row["video_id"] for row in rows] == ["v7", "v8"]
    report = made.store.get("negatives/toy").manifest.report
    assert (report["videos"], report["fewest_negatives"], report["videos_short"]) == (2, 1, 0)


def without_cosines(row):
    return {name: row[name] for name in row if name not in ("cosine", "margin", "reason")}


def test_embeddings_read_anew_by_each_pass_change_nothing(tmp_path):
    whole = job(rich_world(tmp_path), tmp_path, top_k=9, synonym_cosine=0.5)
    videos = read_mined_videos(whole.frames, range(30), whole.labels, whole.corpus)

    def table(corpus, **sizes):
        negative_filter = NegativeFilter(corpus, whole.config, None)
        found = rank_candidates(videos, corpus, negative_filter, **sizes)
        rows = np.flatnonzero(nearest_rejected(found, whole.config.max_rejected))
        return negatives_table(found, rows, videos, corpus, negative_filter)

    read_anew = read_corpus(whole.texts, whole.config.synonym_cosine, held_bytes=0)
    assert table(read_anew, slack=1, searched=100).equals(table(whole.corpus))
