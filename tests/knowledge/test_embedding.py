"""Embedding artifacts: equal to encoding by hand, resumable, unreadable videos listed."""

import shutil

import numpy as np
import pytest

from artifacts.store import Store
from artifacts.tensors import read_tensor
from knowledge import embedding
from knowledge.clip import encode_frames, encode_texts
from knowledge.embedding import FrameConfig, frame_embeddings, text_embeddings
from knowledge.video import read_frames, resize_and_crop, segment_centres
from tests.video_files import write_video

CONFIG = FrameConfig(num_frames=4)


def test_frames_equal_encoding_by_hand(dataset, clip):
    store, spec, _, videos = dataset
    outcome = frame_embeddings(store, clip, videos, spec.videos, CONFIG)
    table = outcome.artifact.read()
    rows = {row["video_id"]: i for i, row in enumerate(table.to_pylist())}
    i = rows["train/walk/0"]
    frames = read_frames(spec.videos / "train/walk/0.mp4", lambda n: segment_centres(n, 4))
    units, norms = encode_frames(clip.clip, resize_and_crop(frames.images, 32))
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


@pytest.fixture
def copied(dataset, tmp_path):
    """The videos in another directory, and an empty store."""
    _, spec, _, _ = dataset
    shutil.copytree(spec.videos, tmp_path / "copy")
    return Store(tmp_path / "store"), tmp_path / "copy"


def test_a_wrong_directory_publishes_nothing(dataset, clip, copied, tmp_path):
    *_, videos = dataset
    store, copy = copied
    with pytest.raises(ValueError, match=r"video directory .*none does not exist; .*--videos"):
        frame_embeddings(store, clip, videos, tmp_path / "none", CONFIG)
    missing = r"'test/run/4.mp4' does not exist in .*; give .*--videos, or register .* again"
    with pytest.raises(ValueError, match=missing):
        frame_embeddings(store, clip, videos, tmp_path, CONFIG)
    assert not store.published("frame_embeddings")
    made = frame_embeddings(store, clip, videos, copy, CONFIG)
    assert made.artifact.manifest.report["videos"] == {"ok": 6, "unreadable": 1}


def test_a_changed_file_publishes_nothing(dataset, clip, copied):
    *_, videos = dataset
    store, copy = copied
    write_video(copy / "train/sit/2.mp4", 30)
    with pytest.raises(ValueError, match=r"'train/sit/2.mp4' differs from what was registered"):
        frame_embeddings(store, clip, videos, copy, CONFIG)
    assert not store.published("frame_embeddings")


def test_files_that_go_during_the_job_publish_nothing(dataset, clip, copied, monkeypatch):
    *_, videos = dataset
    store, copy = copied
    monkeypatch.setattr(embedding, "VIDEOS_PER_PART", 2)
    gone = []

    def unmount(done, total):
        if not gone:
            gone.append(copy.rename(copy.with_name("gone")))

    with pytest.raises(ValueError, match=r"does not exist in"):
        frame_embeddings(store, clip, videos, copy, CONFIG, unmount)
    assert not store.published("frame_embeddings")


def test_the_report_says_how_long_it_took(dataset, clip, copied):
    *_, videos = dataset
    store, copy = copied
    report = frame_embeddings(store, clip, videos, copy, CONFIG).artifact.manifest.report
    assert report["duration_s"] > 0
    assert report["videos_per_s"] == pytest.approx(6 / report["duration_s"], rel=0.1)


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
