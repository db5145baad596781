"""Text embeddings: equal to encoding by hand, each text once, resumable part by part."""

import numpy as np
import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import read_tensor
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_texts
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.config import CorpusConfig
from knowledge.embedding.corpus_texts import corpus_embeddings


def test_texts_equal_encoding_by_hand(dataset, clip):
    store, _, classes, _ = dataset
    table = text_embeddings(store, clip, classes).artifact.read()
    assert table["text_id"].to_pylist() == [f"tiny/{i}/prompt" for i in range(3)]
    assert table["text"].to_pylist() == [
        f"This is a video about {name}" for name in ("run", "sit", "walk")
    ]
    units, _ = encode_texts(clip.clip, table["text"].to_pylist())
    np.testing.assert_array_equal(read_tensor(table, "embedding"), units)


def test_a_template_without_label_is_an_error(dataset, clip):
    store, _, classes, _ = dataset
    with pytest.raises(ValueError, match=r"must contain \{label\}"):
        text_embeddings(store, clip, classes, template="a video")


def test_each_distinct_text_is_encoded_once(dataset, clip, tmp_path):
    _, _, classes, _ = dataset
    rows = [
        {"class_id": c, "prompt_id": "p", "text": "a person", "n_tokens": 4, "model": "m"}
        for c in range(3)
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("descriptions").arrow())
    made_from = dict(inputs_of(classes=classes))
    origin = Provenance(kind="descriptions", name="tiny", config={}, inputs=made_from)
    descriptions = Store(tmp_path).publish(origin, table)
    outcome = text_embeddings(Store(tmp_path), clip, classes, descriptions)
    assert outcome.work == {"texts_encoded": 4}
    found = outcome.artifact.read()
    embedding = read_tensor(found, "embedding")
    units, norms = encode_texts(clip.clip, ["a person"])
    for i in (3, 4, 5):
        np.testing.assert_allclose(embedding[i], units[0], atol=1e-6)
        assert found["feature_norm"][i].as_py() == pytest.approx(float(norms[0]), rel=1e-5)


VERBS = [f"verb {i}" for i in range(10)]


def written(path, texts):
    path.write_text("\n".join(texts) + "\n")
    return path


def test_texts_of_a_file_equal_encoding_by_hand(clip, tmp_path):
    path = written(tmp_path / "verbs.txt", [*VERBS, "verb 3"])
    config = CorpusConfig(template="a {label}")
    outcome = corpus_embeddings(Store(tmp_path), clip, path, config, precision="fp32")
    table = outcome.artifact.read()
    assert table["text_id"].to_pylist() == [f"verbs/{i}" for i in range(1, 11)]
    assert table["name"].to_pylist() == VERBS
    assert table["text"].to_pylist() == [f"a {verb}" for verb in VERBS]
    assert set(table["source"].to_pylist()) == {"text"}
    units, norms = encode_texts(clip.clip, table["text"].to_pylist())
    np.testing.assert_allclose(read_tensor(table, "embedding"), units, atol=1e-6)
    np.testing.assert_allclose(table["feature_norm"].to_numpy(), norms, rtol=1e-5)
    assert outcome.work == {"texts_encoded": 10}
    assert outcome.artifact.manifest.report["left_out"] == {"repeated": 1}
    outcome.artifact.verify()
    halved = corpus_embeddings(Store(tmp_path), clip, path, config, precision="bf16").artifact
    assert halved.ref != outcome.artifact.ref
    difference = np.abs(read_tensor(halved.read(), "embedding") - units.numpy())
    assert 1e-4 < difference.max() < 0.02


def test_the_key_is_the_content_of_the_file_not_its_place(clip, clip_spec, tmp_path):
    store = Store(tmp_path / "store")
    first = corpus_embeddings(store, clip, written(tmp_path / "verbs.txt", VERBS))
    (tmp_path / "elsewhere").mkdir()
    fresh = LazyClip(clip_spec)
    again = corpus_embeddings(store, fresh, written(tmp_path / "elsewhere/verbs.txt", VERBS))
    assert (again.made, again.artifact.ref) == (False, first.artifact.ref)
    assert "clip" not in vars(fresh)
    changed = corpus_embeddings(store, clip, written(tmp_path / "verbs.txt", VERBS[:-1]))
    assert changed.made
    assert str(tmp_path) not in first.artifact.manifest.model_dump_json()


def test_a_crash_loses_no_finished_part(clip, tmp_path):
    path = written(tmp_path / "verbs.txt", VERBS)

    class CrashError(Exception):
        pass

    def crash(done, total):
        assert total == 10
        if done == 8:
            raise CrashError

    with pytest.raises(CrashError):
        corpus_embeddings(Store(tmp_path / "a"), clip, path, progress=crash, texts_per_part=4)
    assert not Store(tmp_path / "a").published("text_embeddings")
    resumed = corpus_embeddings(Store(tmp_path / "a"), clip, path, texts_per_part=4)
    assert resumed.work == {"texts_encoded": 2}
    whole = corpus_embeddings(Store(tmp_path / "b"), clip, path, texts_per_part=4)
    assert whole.work == {"texts_encoded": 10}
    manifests = [each.artifact.manifest for each in (resumed, whole)]
    assert manifests[0].content_hash == manifests[1].content_hash
    assert len(manifests[0].files) == 3


def test_rows_that_cannot_be_used_are_counted_up_to_a_limit(clip, tmp_path):
    path = written(tmp_path / "verbs.txt", [*VERBS, "", "very " * 90, "verb 1"])
    refused = r"of 13 rows 1 empty, 1 too long, more than max_unusable=0.1 allows"
    for _ in range(2):  # the second time from the finished draft
        with pytest.raises(ValueError, match=refused):
            corpus_embeddings(Store(tmp_path), clip, path, CorpusConfig(max_unusable=0.1))
    outcome = corpus_embeddings(Store(tmp_path), clip, path, CorpusConfig(max_unusable=0.2))
    report = outcome.artifact.manifest.report
    assert report["left_out"] == {"empty": 1, "repeated": 1, "too long": 1}
    assert report["texts"] == {"text": 10}
    assert report["rows"] == 13


def test_parts_without_usable_texts(clip, tmp_path):
    half = CorpusConfig(max_unusable=0.5)
    path = written(tmp_path / "verbs.txt", ["very " * 90, *VERBS[:2]])
    outcome = corpus_embeddings(Store(tmp_path), clip, path, half, texts_per_part=1)
    assert outcome.artifact.read()["text"].to_pylist() == VERBS[:2]
    path = written(tmp_path / "none.txt", ["very " * 90])
    with pytest.raises(ValueError, match="no text fits into CLIP's 77 tokens"):
        corpus_embeddings(Store(tmp_path), clip, path, CorpusConfig(max_unusable=1))
