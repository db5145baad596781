"""A user's features become artifacts that mining and training take."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.tensors import read_tensor
from knowledge.embedding.features import named_encoder, register_features, register_texts
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import mine
from tests.training.runs import config_of
from tests.training.world import World
from training.data.inputs import TrainInputs
from training.evaluation.evaluate import evaluate
from training.loop.trainer import train

OWN = named_encoder("mine-v1")


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "store")


def features_of(world, T=4):
    """Long rows that lean to the direction of the video's class."""
    rng = np.random.default_rng(1)
    shape = (T, world.dim)
    return {
        video_id: (5 * (world.directions_KD[label] + 0.1 * rng.normal(size=shape))).astype("f4")
        for video_id, label in world.labels.items()
    }


def published(outcome):
    return outcome.artifact.manifest.report


def test_every_form_of_file_gives_the_same_rows(world, tmp_path):
    features = features_of(world)
    ids, rows = list(features), np.stack(list(features.values()))
    np.savez(tmp_path / "a.npz", **features)
    np.savez(tmp_path / "b.npz", video_id=np.array(ids[::-1]), features=rows[::-1])
    table = pa.table({"video_id": ids, "embedding": rows.tolist()})
    pq.write_table(
        table.take(np.random.default_rng(0).permutation(len(ids))), tmp_path / "c.parquet"
    )
    own = tmp_path / "d.parquet"
    pq.write_table(pa.table({"video_id": ids, "features": rows.astype("f8").tolist()}), own)
    found = []
    for name in ("a.npz", "b.npz", "c.parquet", "d.parquet"):
        outcome = register_features(world.store, world.videos, tmp_path / name, OWN)
        found.append(outcome.artifact.read())
        assert published(outcome)["unknown_ids"] == 0
    for table in found[1:]:
        assert table.equals(found[0])
    place = found[0]["video_id"].to_pylist().index(ids[7])
    unit = read_tensor(found[0], "embedding")[place].astype("f4")
    norm = read_tensor(found[0], "feature_norms")[place]
    np.testing.assert_allclose(unit * norm[:, None], features[ids[7]], atol=5e-3)
    again = register_features(world.store, world.videos, tmp_path / "a.npz", OWN)
    assert not again.made


def test_single_vectors_are_one_frame_and_gaps_are_counted(world, tmp_path):
    features = {key: rows[0] for key, rows in features_of(world).items()}
    del features["train/c0/v0"]
    np.savez(tmp_path / "a.npz", **features, stranger=np.ones(world.dim))
    outcome = register_features(world.store, world.videos, tmp_path / "a.npz", OWN)
    assert outcome.artifact.manifest.config["num_frames"] == 1
    report = published(outcome)
    assert report["videos"] == {"ok": len(world.labels) - 1, "missing": 1}
    assert report["unknown_ids"] == 1
    missing = [r for r in outcome.artifact.read().to_pylist() if r["status"] == "missing"]
    assert [(r["video_id"], r["reason"]) for r in missing] == [
        ("train/c0/v0", "no features were given")
    ]


def test_bad_features_are_refused(world, tmp_path):
    def refusal(name="a.npz", **changes):
        path = tmp_path / name
        np.savez(path, **{**features_of(world), **changes})
        with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as error:
            register_features(world.store, world.videos, path, OWN)
        return str(error.value)

    bad = np.ones((4, world.dim))
    bad[2, 3] = np.nan
    assert "'train/c0/v1' holds a value that is not finite" in refusal(**{"train/c0/v1": bad})
    bad[2] = 0
    assert "'train/c0/v1' holds a row of zeros" in refusal(**{"train/c0/v1": bad})
    short = np.ones((3, world.dim))
    assert "'train/c0/v1' has features of shape (3, 32)" in refusal(**{"train/c0/v1": short})
    text = np.array(["a", "b"])
    assert "not rows of numbers" in refusal(**{"train/c0/v1": text})
    objects = np.array([{}], dtype=object)
    np.savez(tmp_path / "o.npz", a=objects)
    with pytest.raises(ValueError, match=r"not a \.npz of plain arrays"):
        register_features(world.store, world.videos, tmp_path / "o.npz", OWN)
    np.savez(tmp_path / "s.npz", stranger=np.ones(3))
    with pytest.raises(ValueError, match="its ids are like 'stranger', the dataset's like 'train/"):
        register_features(world.store, world.videos, tmp_path / "s.npz", OWN)
    np.savez(tmp_path / "t.npz", video_id=["train/c0/v0"] * 2, features=np.ones((2, 3)))
    with pytest.raises(ValueError, match="'train/c0/v0' comes twice"):
        register_features(world.store, world.videos, tmp_path / "t.npz", OWN)
    pq.write_table(pa.table({"video": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(ValueError, match="it needs video_id, and features or embedding"):
        register_features(world.store, world.videos, tmp_path / "p.parquet", OWN)
    with pytest.raises(ValueError, match=r"none\.npz does not exist"):
        register_features(world.store, world.videos, tmp_path / "none.npz", OWN)
    assert len(world.store.published("frame_embeddings")) == 1


def test_texts_are_joined_by_id_or_name(world, tmp_path):
    rows = 3 * world.texts_KD
    np.savez(tmp_path / "id.npz", class_id=np.arange(6)[::-1], features=rows[::-1])
    np.savez(tmp_path / "name.npz", **{f"toy{c}": rows[c] for c in range(6)}, other=rows[0])
    by_id = register_texts(world.store, world.classes, tmp_path / "id.npz", OWN)
    by_name = register_texts(world.store, world.classes, tmp_path / "name.npz", OWN, 50.0)
    assert by_id.artifact.read().equals(by_name.artifact.read())
    assert by_id.artifact.manifest.facts["logit_scale"] == 100.0
    assert by_name.artifact.manifest.facts["logit_scale"] == 50.0
    assert published(by_name)["unknown_rows"] == 1
    np.testing.assert_allclose(
        read_tensor(by_id.artifact.read(), "embedding"), world.texts_KD, atol=1e-6
    )
    np.savez(tmp_path / "few.npz", toy0=rows[0])
    with pytest.raises(ValueError, match=r"has no features of class 1 \('toy1'\)"):
        register_texts(world.store, world.classes, tmp_path / "few.npz", OWN)


def test_mgdm_trains_on_registered_features(world, tmp_path):
    np.savez(tmp_path / "f.npz", **features_of(world))
    np.savez(tmp_path / "t.npz", **{f"toy{c}": world.texts_KD[c] for c in range(6)})
    frames = register_features(world.store, world.videos, tmp_path / "f.npz", OWN).artifact
    texts = register_texts(world.store, world.classes, tmp_path / "t.npz", OWN).artifact
    config = MiningConfig(top_k=4)
    negatives = mine(world.store, world.videos, frames, [texts], config).artifact
    inputs = TrainInputs(world.classes, world.videos, texts, frames, negatives)
    run = train(world.store, inputs, config_of("model.negatives.k=3"), "own").artifact
    metrics = evaluate(world.store, run, inputs, "test")[1].artifact.read().to_pylist()
    top1 = {row["protocol"]: row["value"] for row in metrics if row["metric"] == "top1"}
    assert top1["mgdm/all"] > 0.9
