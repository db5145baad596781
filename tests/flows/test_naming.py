"""How an input is named decides nothing: the same input, the same key and bytes.

Each input is reached in many ways: relative, absolute, through a link, with a slash at its end or
`..` within, from its own directory, as a URL; and lies in directories whose names hold what has a
meaning to URLs, to patterns or to FFmpeg. Other content has another key.
"""

import contextlib
import os
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch

from artifacts.jobs import make_all
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance
from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_frames, load_clip
from knowledge.clip.weights import ClipSpec, weights_sha256
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.corpus_texts import corpus_embeddings
from knowledge.embedding.features import named_encoder, register_features, register_texts
from knowledge.embedding.frames import FrameJob
from knowledge.video.decoding import VideoError
from knowledge.video.probing import probe
from tests.clip_weights import TINY, save_random_clip
from tests.video_files import write_video

DIRECTORIES = (
    "plain",
    "a:b",
    "file:x",
    "50%20 percent",
    "two  spaces",
    "ümläut",
    "[x]*?",
    "a::b",
    "#1",
)
ODD = "a:b file:x 50%20 [x]*? ü"
SOME = (2, 5, 7)
"""Of the ways, where each takes time: the bare name, from the directory above, the current one."""
OTHER_NAMES = ("http:x.mp4", "pipe:0.mp4", "file:y.mp4", "%03d.mp4", "ä b.mp4", "[1].mp4", "-i.mp4")


def ways(path):
    """(current directory, words) that all mean the path."""
    parent, name = path.parent, path.name
    link = parent / f"link to it{path.suffix}"
    if not link.is_symlink():
        link.symlink_to(name, target_is_directory=path.is_dir())
    yield "/", str(path)
    yield str(parent), f"./{name}"
    yield str(parent), name
    yield str(parent), str(link)
    yield "/", f"{parent}/../{parent.name}/{name}"
    yield str(parent.parent), f"{parent.name}/{name}"
    if path.is_dir():
        yield "/", f"{path}/"
        yield str(path), "."
        yield str(path), f"../{name}/"


def results(path, use, which=None):
    """What `use` gives for each way to name a path, or some of them."""
    found = []
    known = list(ways(path))
    for where, words in [known[i] for i in which or range(len(known))]:
        with contextlib.chdir(where):
            found.append((words, use(words)))
    return found


def all_equal(found):
    first = found[0][1]
    for words, each in found:
        assert each == first, words
    return first


def identity(outcome):
    """What must not depend on names: key and bytes."""
    manifest = outcome.artifact.manifest
    return manifest.key, manifest.content_hash


@pytest.fixture(params=DIRECTORIES)
def directory(request, tmp_path):
    made = tmp_path / request.param
    made.mkdir()
    return made


def fresh(tmp_path):
    """A store of its own for each call: nothing is found."""
    fresh.count += 1
    return Store(tmp_path / f"fresh {fresh.count}")


fresh.count = 0


def registered(tmp_path, videos):
    store = fresh(tmp_path)
    spec = DatasetSpec(dataset="folder", videos=Path(videos), name="x")
    listing = read_listing(spec)
    classes = register_classes(store, "x", listing.classes).artifact
    return register_videos(store, spec, listing, classes)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files of two classes under names of every sort, and one that is no video."""
    root = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(OTHER_NAMES):
        write_video(root / "train" / ("walk", "c:run")[number % 2] / name, 6 + number)
    (root / "train/walk/a:broken.mp4").write_text("no video")
    return root


def test_videos(clips, tmp_path):
    directory = tmp_path / ODD
    shutil.copytree(clips, directory / "videos")

    def use(words):
        made = registered(tmp_path, words)
        rows = made.artifact.read(["path", "status", "reason"]).to_pylist()
        return (*identity(made), str(rows))

    _, _, rows = all_equal(results(directory / "videos", use, SOME))
    assert rows.count("'ok'") == len(OTHER_NAMES)
    assert rows.count("'unreadable'") == 1
    assert str(directory) not in rows
    assert identity(registered(tmp_path, clips)) == identity(
        registered(tmp_path, directory / "videos")
    )


def test_a_video_of_the_current_directory(clips):
    def told(path):
        try:
            return vars(probe(path))
        except VideoError as error:
            return error.reason

    for path in clips.rglob("*.mp4"):
        with contextlib.chdir(path.parent):
            near = told(Path(path.name))
        assert near == told(path), path.name
        assert isinstance(near, str) == ("broken" in path.name), near
        with contextlib.chdir(clips / "train"):
            assert told(path.relative_to(clips / "train")) == near


def test_other_videos_have_another_key(clips, tmp_path):
    other = tmp_path / "videos"
    shutil.copytree(clips, other)
    before = registered(tmp_path, other).artifact.manifest.key
    write_video(other / "train/walk/http:x.mp4", 9)
    assert registered(tmp_path, other).artifact.manifest.key != before


def test_frames_of_videos_by_any_name(clips, tmp_path):
    lies = tmp_path / ODD
    shutil.copytree(clips, lies)
    save_random_clip(tmp_path / "w.safetensors")
    clip = LazyClip(ClipSpec(arch="tiny-vit", weights=str(tmp_path / "w.safetensors")))

    def use(words):
        videos = registered(tmp_path, lies).artifact
        options = EncodingOptions(precision="fp32", num_workers=1).resolved(clip)
        job = FrameJob(videos.store, clip, videos, Path(words), FrameConfig(num_frames=2), options)
        made = make_all(job)
        statuses = made.artifact.read(["status"])["status"].to_pylist()
        return (*identity(made), statuses.count("ok"))

    assert all_equal(results(lies, use, SOME[1:]))[2] == len(OTHER_NAMES)


def test_stores(directory, tmp_path):
    table = pd.DataFrame({"class_id": [0, 1], "name": ["hop", "run"], "group": "all"})
    kept = directory / "store"
    made = register_classes(Store(kept), "x", table).artifact

    def use(words):
        store = Store(words)
        found = register_classes(store, "x", table)
        assert store.is_local
        return (
            found.made,
            str(found.artifact.ref),
            [str(each.ref) for each in store.published()],
            str(store.get("classes/x").ref),
            found.artifact.read().to_pylist(),
        )

    assert all_equal(results(kept, use))[:3] == (False, str(made.ref), [str(made.ref)])
    if "::" not in str(kept):  # which fsspec takes for two URLs
        assert use(f"file://{kept}")[0] is False
        assert use(f"local://{kept}/")[0] is False


def test_class_lists(directory, tmp_path):
    (directory / "classes.csv").write_text("id,name\n0,walk\n1,run\n", encoding="utf-8")
    videos = tmp_path / "videos"
    write_video(videos / "train/walk/0.mp4", 6)

    def use(words):
        spec = DatasetSpec(dataset="folder", videos=videos, name="x", classes=words)
        return identity(register_classes(fresh(tmp_path), "x", read_listing(spec).classes))

    first = all_equal(results(directory / "classes.csv", use))
    if "::" not in str(directory):
        assert use(f"file://{directory / 'classes.csv'}") == first
    (directory / "classes.csv").write_text("id,name\n0,run\n1,walk\n", encoding="utf-8")
    assert use(str(directory / "classes.csv")) != first


def test_weights(directory, tmp_path):
    path = save_random_clip(directory / "w.safetensors")

    def use(words):
        return LazyClip(ClipSpec(arch="tiny-vit", weights=words)).identity

    first = all_equal(results(path, use))
    assert set(first) == {"arch", "weights_sha256"}
    clip = load_clip(ClipSpec(arch="tiny-vit", weights=str(path)))
    assert clip.identity == first


def test_weights_of_equal_age_and_size_in_two_current_directories(tmp_path):
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        path = save_random_clip(tmp_path / str(seed) / "w.safetensors", seed=seed)
        os.utime(path, ns=(10**18, 10**18))
    hashes = set()
    for seed in range(2):
        with contextlib.chdir(tmp_path / str(seed)):
            hashes.add(weights_sha256(Path("w.safetensors")))
    assert len(hashes) == 2


def test_weights_changed_in_place_with_the_old_time(tmp_path):
    path = tmp_path / "w.bin"
    path.write_bytes(b"old")
    os.utime(path, ns=(10**18, 10**18))
    before = weights_sha256(path)
    path.write_bytes(b"new")
    os.utime(path, ns=(10**18, 10**18))
    assert weights_sha256(path) != before


HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.fixture
def tagged(tmp_path):
    """Adds an architecture to open_clip, with a tag `own` of a local file; it is taken back."""
    known = open_clip.pretrained._PRETRAINED
    path = save_random_clip(tmp_path / "w.safetensors")

    def add(arch, **cfg):
        shutil.copy(TINY, tmp_path / f"{arch}.json")
        open_clip.add_model_config(tmp_path / f"{arch}.json")
        known[arch] = {"own": {"file": str(path), **cfg}}
        added.append(arch)
        return path

    added = []
    yield add
    for arch in added:
        del known[arch]


def embedded(spec):
    clip = load_clip(spec)
    assert clip.identity == LazyClip(spec).identity
    pixels = torch.arange(3 * clip.image_size**2).remainder(251).to(torch.uint8)
    units, _ = encode_frames(clip, pixels.view(1, 3, clip.image_size, clip.image_size))
    return clip.identity, units.numpy()


def test_weights_by_tag_and_by_file_are_one_model(tagged):
    path = tagged("tiny-half", **HALF)
    by_tag, of_tag = embedded(ClipSpec(arch="tiny-half", weights="own"))
    by_file, of_file = embedded(ClipSpec(arch="tiny-half", weights=str(path)))
    assert by_tag == by_file
    np.testing.assert_array_equal(of_tag, of_file)
    usual, of_usual = embedded(ClipSpec(arch="tiny-vit", weights=str(path)))
    assert usual.keys() == {"arch", "weights_sha256"} < by_tag.keys()
    assert not np.array_equal(of_usual, of_file)


def test_a_tag_stays_a_tag_beside_a_file_of_its_name(tagged, tmp_path):
    path = tagged("tiny-own")
    (tmp_path / "own").write_bytes(path.read_bytes())
    with contextlib.chdir(tmp_path):
        assert ClipSpec(arch="tiny-own", weights="own").absolute().weights == "own"
        by_path = ClipSpec(arch="tiny-own", weights=path.name).absolute()
    assert by_path.weights == str(path)


def test_corpus_files(directory, tmp_path):
    clip = LazyClip(
        ClipSpec(arch="tiny-vit", weights=str(save_random_clip(tmp_path / "w.safetensors")))
    )
    path = directory / "texts.txt"
    path.write_text("text\njump\nclimb\n")

    def use(words):
        made = corpus_embeddings(fresh(tmp_path), clip, Path(words), precision="fp32")
        return (*identity(made), made.artifact.manifest.num_rows)

    key, _, num_rows = all_equal(results(path, use, (2, 4)))  # a link has a name of its own
    assert num_rows == 3
    path.with_suffix(".csv").write_bytes(path.read_bytes())
    other, _, num_rows = use(str(path.with_suffix(".csv")))
    assert (other != key, num_rows) == (True, 2), "the same bytes, read as a table"


def test_features(directory, tmp_path):
    store = fresh(tmp_path)
    names = {"class_id": [0, 1], "name": ["hop", "run"], "group": "all"}
    classes = register_classes(store, "x", pd.DataFrame(names)).artifact
    row = {"video_id": "a:b", "path": "a:b.mp4", "split": "train", "class_ids": [0], "status": "ok"}
    columns = schema_of("videos").arrow()
    table = columns.empty_table().from_pylist([row], schema=columns)
    videos = store.publish(Provenance(kind="videos", name="x", config={}), table)
    rows = np.random.default_rng(0).normal(size=(2, 8)).astype("f4")
    np.savez(directory / "v.npz", **{"a:b": rows[:1]})
    np.savez(directory / "t.npz", class_id=np.arange(2), features=rows)

    def use_videos(words):
        return identity(register_features(store, videos, Path(words), named_encoder("own")))

    def use_texts(words):
        return identity(register_texts(store, classes, Path(words), named_encoder("own")))

    for name, use in (("v.npz", use_videos), ("t.npz", use_texts)):
        all_equal(results(directory / name, use))
        (directory / f"link to it{Path(name).suffix}").unlink()
