"""Embedding artifacts: equal to encoding by hand, resumable, unreadable videos listed."""

import numpy as np
import pytest

from artifacts.store import Store
from artifacts.tensors import read_tensor
from knowledge import embedding
from knowledge.clip import encode_frames, encode_texts
from knowledge.embedding import FrameConfig, frame_embeddings, text_embeddings
from knowledge.video import read_frames, resize_and_crop, segment_centres

CONFIG = FrameConfig(num_frames=4)


def test_frames_equal_encoding_by_hand(dataset, clip):
    store, spec, _, videos = dataset
    outcome = frame_embeddings(store, clip, videos, spec.videos, CONFIG)
    table = outcome.artifact.read()
    rows = {row["video_id"]: i for i, row in enumerate(table.to_pylist())}
    i = rows["train/walk/0"]
    frames = read_frames(spec.videos / "train/walk/0.mp4", lambda n: segment_centres(n, 4))
    units, norms = encode_frames(clip.clip, resize_and_crop(frames.images, 112))
    stored = read_tensor(table, "embedding")
    assert stored.dtype == np.float16
    np.testing.assert_allclose(stored[i], units, atol=1e-3)
    np.testing.assert_allclose(read_tensor(table, "feature_norms")[i], norms, rtol=1e-5)
    np.testing.assert_allclose(table["frame_pts"][i].as_py(), frames.pts_s)
    bad = table.to_pylist()[rows["train/walk/bad"]]
    assert (bad["status"], bad["embedding"]) == ("unreadable", None)
    assert "not a video" in bad["reason"]


def test_found_by_key_without_decoding_or_loading_the_model(dataset, clip_spec, tmp_path):
    store, spec, classes, videos = dataset
    frame_embeddings(store, embedding.LazyClip(clip_spec), videos, spec.videos, CONFIG)
    text_embeddings(store, embedding.LazyClip(clip_spec), classes)
    fresh = embedding.LazyClip(clip_spec)
    again = frame_embeddings(store, fresh, videos, tmp_path / "no such directory", CONFIG)
    texts = text_embeddings(store, fresh, classes)
    assert (again.made, again.work, texts.made, texts.work) == (False, {}, False, {})
    assert "clip" not in vars(fresh)
    other = FrameConfig(num_frames=4, offset="start")
    assert frame_embeddings(store, fresh, videos, spec.videos, other).made


def test_a_crash_loses_no_finished_part(dataset, clip, tmp_path, monkeypatch):
    _, spec, _, videos = dataset
    monkeypatch.setattr(embedding, "VIDEOS_PER_PART", 2)
    store = Store(tmp_path)

    class CrashError(Exception):
        pass

    def crash(done, total):
        if done == 5:
            raise CrashError

    with pytest.raises(CrashError):
        frame_embeddings(store, clip, videos, spec.videos, CONFIG, crash)
    assert not store.published("frame_embeddings")
    resumed = frame_embeddings(store, clip, videos, spec.videos, CONFIG)
    assert resumed.work["videos_decoded"] == 2  # of six; the first two parts were complete
    whole = frame_embeddings(Store(tmp_path / "x"), clip, videos, spec.videos, CONFIG)
    assert whole.work == {"videos_decoded": 6, "frames_encoded": 24}
    assert resumed.artifact.manifest.content_hash == whole.artifact.manifest.content_hash


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
