"""Frame embeddings: equal to encoding by hand, the same from any workers, resumable, in shards."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from artifacts.store import Store
from artifacts.tensors import read_tensor
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_frames
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.engine.part import CANARY
from knowledge.embedding.frames import FrameJob
from knowledge.video.frames import read_frames, resize_and_crop
from knowledge.video.sampling import segment_centres
from tests import jobs
from tests.jobs import make_shard
from tests.video_files import write_bad_files, write_video
from tests.video_rows import listed

CONFIG = FrameConfig(num_frames=4)
USUAL = {}
SMALL = {"min_videos_per_part": 2}
"""Parts of two videos."""


def settings(num_workers=2, **others):
    return EncodingOptions(precision="fp32", num_workers=num_workers, **others)


def frame_embeddings(
    store, clip, videos, root, config=CONFIG, progress=None, sizes=USUAL, **others
):
    encoding = settings(**others)
    return jobs.frame_embeddings(store, clip, videos, root, config, progress, encoding, **sizes)


@pytest.fixture(scope="module")
def whole(dataset, clip, tmp_path_factory):
    """All in parts of two videos by one worker."""
    _, spec, _, videos = dataset
    store = Store(tmp_path_factory.mktemp("whole"))
    given = (store, clip, videos, spec.videos)
    outcome = frame_embeddings(*given, sizes=SMALL, num_workers=1)
    assert outcome.work == {"videos_decoded": 6, "frames_encoded": 24}
    return outcome.artifact


def test_frames_equal_encoding_by_hand(dataset, clip, whole):
    _, spec, _, _ = dataset
    whole.verify()
    table = whole.read()
    rows = {row["video_id"]: i for i, row in enumerate(table.to_pylist())}
    stored = read_tensor(table, "embedding")
    assert stored.dtype == np.float16
    for video_id in ("train/walk/0", "test/run/4"):
        i = rows[video_id]
        path = spec.videos / f"{video_id}.mp4"
        frames = read_frames(path, lambda n: segment_centres(n, 4))
        units, norms = encode_frames(clip.clip, resize_and_crop(frames.images, 32))
        np.testing.assert_allclose(stored[i], units, atol=1e-3)
        np.testing.assert_allclose(read_tensor(table, "feature_norms")[i], norms, rtol=1e-5)
        np.testing.assert_allclose(table["frame_pts"][i].as_py(), frames.pts_s)
    bad = table.to_pylist()[rows["train/walk/bad"]]
    assert (bad["status"], bad["embedding"]) == ("unreadable", None)
    assert "not a video" in bad["reason"]


@pytest.mark.parametrize(
    "others", [{"num_workers": 3}, {"separate_encoder": True}], ids=["3 workers", "separate"]
)
def test_bytes_do_not_depend_on_the_workers(dataset, clip, whole, tmp_path, others):
    _, spec, _, videos = dataset
    made = frame_embeddings(
        Store(tmp_path), clip, videos, spec.videos, sizes=SMALL, **others
    ).artifact
    assert made.manifest.files == whole.manifest.files


def test_batches_across_videos_change_no_embedding(dataset, clip, tmp_path):
    _, spec, _, videos = dataset
    config = FrameConfig(num_frames=9)  # 32 is no multiple of it
    table = frame_embeddings(Store(tmp_path), clip, videos, spec.videos, config).artifact.read()
    for video_id, embedding in zip(
        table["video_id"].to_pylist(), read_tensor(table, "embedding"), strict=True
    ):
        if video_id != "train/walk/bad":
            path = spec.videos / f"{video_id}.mp4"
            frames = read_frames(path, lambda n: segment_centres(n, 9))
            units, _ = encode_frames(clip.clip, resize_and_crop(frames.images, 32))
            np.testing.assert_allclose(embedding, units, atol=1e-3)


def test_found_by_key_without_decoding_or_loading_the_model(dataset, clip_spec, tmp_path):
    _, spec, classes, videos = dataset
    store = Store(tmp_path)
    frame_embeddings(store, LazyClip(clip_spec), videos, spec.videos)
    text_embeddings(store, LazyClip(clip_spec), classes)
    fresh = LazyClip(clip_spec)
    again = frame_embeddings(store, fresh, videos, tmp_path / "no such directory")
    texts = text_embeddings(store, fresh, classes)
    assert (again.made, again.work, texts.made, texts.work) == (False, {}, False, {})
    assert "clip" not in vars(fresh)
    other = FrameConfig(num_frames=4, offset="start")
    assert frame_embeddings(store, fresh, videos, spec.videos, other).made


def test_precision_is_part_of_the_key(dataset, clip, tmp_path):
    _, spec, _, videos = dataset
    jobs = [
        FrameJob(Store(tmp_path), clip, videos, spec.videos, CONFIG, each.resolved(clip))
        for each in (settings(), EncodingOptions(precision="bf16"), settings(7), EncodingOptions())
    ]
    fp32, bf16, more_workers, auto = [job.provenance.key for job in jobs]
    assert fp32 == more_workers != bf16
    assert auto in {fp32, bf16}


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
        frame_embeddings(store, clip, videos, tmp_path / "none")
    missing = r"'test/run/4.mp4' does not exist in .*; give .*--videos, or register .* again"
    with pytest.raises(ValueError, match=missing):
        frame_embeddings(store, clip, videos, tmp_path)
    assert not store.published("frame_embeddings")
    made = frame_embeddings(store, clip, videos, copy)
    assert made.artifact.manifest.report["videos"] == {"ok": 6, "unreadable": 1}


def test_a_changed_file_publishes_nothing(dataset, clip, copied):
    *_, videos = dataset
    store, copy = copied
    write_video(copy / "train/sit/2.mp4", 30)
    with pytest.raises(ValueError, match=r"'train/sit/2.mp4' differs from what was registered"):
        frame_embeddings(store, clip, videos, copy)
    assert not store.published("frame_embeddings")


def test_the_report_says_how_long_it_took(dataset, clip, copied):
    *_, videos = dataset
    store, copy = copied
    report = frame_embeddings(store, clip, videos, copy).artifact.manifest.report
    assert report["duration_s"] > 0
    assert report["videos_per_s"] == pytest.approx(6 / report["duration_s"], rel=0.1)
    assert report["num_workers"] == 2


class CrashError(Exception):
    pass


def test_a_crash_loses_no_finished_part(dataset, clip, whole, tmp_path):
    _, spec, _, videos = dataset
    store = Store(tmp_path)
    given = (store, clip, videos, spec.videos)
    seen = []

    def crash(done, total):
        seen.append((done, total))
        if done == 5:
            raise CrashError

    with pytest.raises(CrashError):
        frame_embeddings(*given, progress=crash, sizes=SMALL, num_workers=1)
    assert seen[0] == (1, 7)
    assert not store.published("frame_embeddings")
    [draft] = store.drafts.iterdir()
    parts = {path.name: path.stat().st_ino for path in draft.glob("part-*")}
    assert {"part-00000.parquet", "part-00001.parquet"} <= set(parts)
    resumed = frame_embeddings(*given, sizes=SMALL)
    assert resumed.work["videos_decoded"] == 6 - 2 * min(len(parts), 3)
    assert resumed.artifact.manifest.files == whole.manifest.files
    made = store.directory(resumed.artifact.ref)
    for name, inode in parts.items():
        assert Path(made, name).stat().st_ino == inode


def test_the_last_of_the_shards_publishes(dataset, clip, whole, tmp_path):
    _, spec, _, videos = dataset
    store = Store(tmp_path)
    job = FrameJob(store, clip, videos, spec.videos, CONFIG, settings(), **SMALL)
    assert job.num_parts == 4
    assert make_shard(job, [3, 1]) is None
    assert make_shard(job, [1, 2]) is None
    outcome = make_shard(job, [0, 3])
    assert outcome.work == {"videos_decoded": 2, "frames_encoded": 8}
    assert outcome.artifact.manifest.files == whole.manifest.files
    assert not make_shard(job, [2]).made


def test_making_all_parts_and_some_of_them_exclude_each_other(dataset, clip, tmp_path):
    _, spec, _, videos = dataset
    store = Store(tmp_path, lock_wait_s=0.1)
    job = FrameJob(store, clip, videos, spec.videos, CONFIG, settings())
    held = store.draft(job.provenance, shared=True)
    with pytest.raises(ValueError, match="another process is making frame_embeddings/tiny@"):
        frame_embeddings(store, clip, videos, spec.videos)
    store.draft(job.provenance, shared=True).close()
    held.close()
    held = store.draft(job.provenance)
    with pytest.raises(ValueError, match="another process is making frame_embeddings/tiny@"):
        make_shard(job, [0])
    held.close()


def test_a_machine_that_embeds_otherwise_is_refused(dataset, clip, tmp_path):
    _, spec, _, videos = dataset
    store = Store(tmp_path)
    job = FrameJob(store, clip, videos, spec.videos, CONFIG, settings(), **SMALL)
    assert make_shard(job, [0]) is None
    [draft] = store.drafts.iterdir()
    canary = np.load(draft / CANARY)
    assert canary.shape == (2, 64)
    np.save(draft / CANARY, np.roll(canary, 1, axis=1))
    with pytest.raises(ValueError, match=r"unlike the one that began .* \(cosine .*remove .* to"):
        make_shard(job, [1])
    np.save(draft / CANARY, canary + np.float32(1e-4))
    assert make_shard(job, range(4)).made


def test_every_good_file_is_embedded_and_every_bad_one_listed(clip, tmp_path):
    root = tmp_path / "videos"
    reasons = write_bad_files(root)
    good = [f"good-{i}.mp4" for i in range(6)]
    for i, name in enumerate(good):
        write_video(root / name, 8 + i)
    names = sorted([*reasons, *good])
    videos = listed(Store(tmp_path / "store"), root, names)
    made = frame_embeddings(Store(tmp_path / "store"), clip, videos, root).artifact
    made.verify()
    rows = {row["video_id"]: row for row in made.read().to_pylist()}
    assert list(rows) == names
    assert sum(reason is not None for reason in reasons.values()) >= 12
    for name, row in rows.items():
        if reason := reasons.get(name):
            assert (row["status"], row["embedding"]) == ("unreadable", None), name
            assert any(each in row["reason"] for each in reason.split("|")), (name, row["reason"])
        else:
            assert (row["status"], row["reason"]) == ("ok", None), name
            assert len(row["frame_pts"]) == 4
    alone = listed(Store(tmp_path / "good"), root, good)
    kept = frame_embeddings(Store(tmp_path / "good"), clip, alone, root).artifact.read()
    mixed = read_tensor(made.read(), "embedding")[[names.index(name) for name in good]]
    np.testing.assert_allclose(read_tensor(kept, "embedding"), mixed, atol=1e-3)


def test_a_dataset_without_a_sound_video(clip, tmp_path):
    (tmp_path / "bad.mp4").write_text("no")
    store = Store(tmp_path / "store")
    videos = listed(store, tmp_path, ["bad.mp4"])
    made = frame_embeddings(store, clip, videos, tmp_path).artifact
    assert read_tensor(made.read(), "embedding").shape == (1, 4, 64)
    assert made.manifest.report["videos"] == {"unreadable": 1}


def test_frames_shorter_than_the_models_images_are_refused(dataset, clip, tmp_path):
    _, spec, _, videos = dataset
    short = FrameConfig(num_frames=4, short_side=8)
    with pytest.raises(ValueError, match=r"\Aframes\.short_side=8 is less than the 32 pixels"):
        frame_embeddings(Store(tmp_path), clip, videos, spec.videos, short)
