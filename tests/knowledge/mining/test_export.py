"""Negatives as training data of sentence-transformers: its column names, our texts."""

import pyarrow.parquet as pq
import pytest

from knowledge.mining.config import ExportOptions, MiningConfig
from knowledge.mining.export import export
from knowledge.mining.job import mine
from tests.knowledge.mining.world import rich_world


@pytest.fixture(scope="module")
def mined(tmp_path_factory):
    """Negatives of videos of one to three classes; some videos have fewer than four."""
    made = rich_world(tmp_path_factory.mktemp("world"))
    config = MiningConfig(top_k=4, max_cosine=0.2, min_cosine=-0.25)
    args = (made.store, made.videos, made.frames, made.texts, config)
    made.negatives = mine(*args).artifact
    texts = [row for artifact in made.texts for row in artifact.read().to_pylist()]
    made.text = {row["text_id"]: row["text"] for row in texts}
    return made


def expected(made, ranking="dataset_rank", n=4):
    """(anchor, positive, negatives) per video and class, in order."""
    rows = made.negatives.read().to_pylist()
    found = []
    for i, classes in enumerate(made.labels):
        ranked = [r for r in rows if r["video_id"] == f"v{i}" and r[ranking] and r[ranking] <= n]
        ranked.sort(key=lambda row: row[ranking])
        negatives = [made.text[row["text_id"]] for row in ranked]
        found += [(f"v{i}.mp4", made.text[f"toy/{c}/prompt"], negatives) for c in classes]
    return found


def written(made, tmp_path, **config):
    done = export(made.negatives, tmp_path / "out.parquet", ExportOptions(**config))
    table = pq.read_table(tmp_path / "out.parquet")
    assert (done.num_rows, list(done.columns)) == (table.num_rows, table.column_names)
    return done, table.to_pylist()


def test_triplets(mined, tmp_path):
    done, rows = written(mined, tmp_path)
    wanted = expected(mined)
    assert rows == [
        {"anchor": anchor, "positive": positive, "negative": negative}
        for anchor, positive, negatives in wanted
        for negative in negatives
    ]
    assert done.videos_left_out == len({a for a, _, negatives in wanted if not negatives})


def test_tuples_have_one_width_and_short_videos_are_counted(mined, tmp_path):
    wanted = expected(mined)
    short = {anchor for anchor, _, negatives in wanted if len(negatives) < 4}
    assert 0 < len(short) < len(mined.labels)
    done, rows = written(mined, tmp_path, format="n-tuple")
    assert [list(row.values()) for row in rows] == [
        [anchor, positive, *negatives]
        for anchor, positive, negatives in wanted
        if len(negatives) == 4
    ]
    assert list(rows[0]) == ["anchor", "positive", *(f"negative_{i}" for i in range(1, 5))]
    assert (done.videos_left_out, done.videos_short) == (len(short), 0)
    fewer, _ = written(mined, tmp_path, format="n-tuple", num_negatives=1)
    assert fewer.videos_left_out < done.videos_left_out


def test_lists_and_pairs_are_as_long_as_the_negatives(mined, tmp_path):
    wanted = [row for row in expected(mined, "rank", 3) if row[2]]
    done, rows = written(
        mined, tmp_path, format="labeled-list", corpus="union", num_negatives=3, anchor="id"
    )
    assert rows == [
        {
            "anchor": anchor.removesuffix(".mp4"),
            "positive": [positive, *negatives],
            "labels": [1] + [0] * len(negatives),
        }
        for anchor, positive, negatives in wanted
    ]
    assert done.videos_short == len({a for a, _, negatives in wanted if len(negatives) < 3})
    _, pairs = written(mined, tmp_path, format="labeled-pair", corpus="union", num_negatives=3)
    assert pairs == [
        {"anchor": anchor, "positive": text, "label": int(i == 0)}
        for anchor, positive, negatives in wanted
        for i, text in enumerate([positive, *negatives])
    ]


def test_what_cannot_be_exported(mined, tmp_path):
    path = tmp_path / "out.parquet"
    with pytest.raises(ValueError, match="holds 4 negatives per video, 9 are asked for"):
        export(mined.negatives, path, ExportOptions(num_negatives=9))
    with pytest.raises(ValueError, match="is not a negatives artifact"):
        export(mined.videos, path, ExportOptions())
    with pytest.raises(ValueError, match=r"let its name end in \.parquet"):
        export(mined.negatives, tmp_path / "out.csv", ExportOptions())
    config = MiningConfig(top_k=8, min_cosine=0.15)
    args = (mined.store, mined.videos, mined.frames, mined.texts, config)
    few = mine(*args).artifact
    with pytest.raises(ValueError, match=r"no video has 8 negatives.*give --num-negatives \d"):
        export(few, path, ExportOptions(format="n-tuple"))
    assert not path.exists()
