"""Readers: what they accept, what they refuse, and the artifacts they lead to."""

import shutil
from pathlib import Path

import pytest

from artifacts.store import Store
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import fingerprints, register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from tests.knowledge.deadly import probe
from tests.video_files import write_video


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "videos"
    for name in ("walk/a.mp4", "walk/b.mp4", "wave a hand/c.mp4"):
        write_video(root / name, 12)
    return root


def listed(spec):
    listing = read_listing(spec)
    names = dict(zip(listing.classes["class_id"], listing.classes["name"], strict=True))
    return {v.path: (v.split, [names[i] for i in v.class_ids]) for v in listing.videos}


def spec(root, **fields):
    return DatasetSpec(**({"dataset": "folder", "videos": root} | fields))


def csv(tmp_path, *lines):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_class_directories(root):
    assert listed(spec(root)) == {
        "walk/a.mp4": ("train", ["walk"]),
        "walk/b.mp4": ("train", ["walk"]),
        "wave a hand/c.mp4": ("train", ["wave a hand"]),
    }


def test_class_directories_below_splits(tmp_path):
    write_video(tmp_path / "train/walk/a.mp4", 3)
    write_video(tmp_path / "test/run/b.mp4", 3)
    assert listed(spec(tmp_path)) == {
        "train/walk/a.mp4": ("train", ["walk"]),
        "test/run/b.mp4": ("test", ["run"]),
    }


def test_csv_with_split_and_several_labels(root, tmp_path):
    labels = csv(
        tmp_path, "file,label,split,note", "walk/a.mp4,wave|walk,test,x", "b.mp4,run,val,y"
    )
    assert listed(spec(root, labels=labels)) == {
        "walk/a.mp4": ("test", ["walk", "wave"]),
        "b.mp4": ("val", ["run"]),
    }


def test_a_class_list_fixes_the_ids(root, tmp_path):
    labels = csv(tmp_path, "file,action", "walk/a.mp4,walk")
    listing = read_listing(spec(root, labels=labels, classes="stickworld"))
    assert len(listing.classes) == 36
    assert listing.videos[0].class_ids == (2,)


@pytest.mark.parametrize(
    ("lines", "fields", "message"),
    [
        (["name,label", "a,b"], {}, r"columns are name, label; need `file` and one of"),
        (["file,label", "a.mp4,"], {}, r"line 2: 'a.mp4' has no label"),
        (["file,label,split", "a.mp4,x,dev"], {}, r"line 2: split 'dev' is not one of"),
        (["file,label", "../a.mp4,x"], {}, r"'../a.mp4' must be a path relative to .* and inside"),
        (["file,label", "/v/a.mp4,x"], {}, r"'/v/a.mp4' must be a path relative"),
        (["file,label", ",x"], {}, r"'' must be a path relative"),
        (["file,label", "a.mp4,x", "./a.mp4,y"], {}, r"'a.mp4' and 'a.mp4' .*row, joined by \|"),
        (["file,label", "a.mp4,x", "a.avi,x"], {}, r"'a.mp4' and 'a.avi' are the same video 'a'"),
        (["file,label", "a.mp4,fly"], {"classes": "stickworld"}, r"line 2: class 'fly' is not in"),
        (["file,label", "a.mp4,fly"], {"classes": "nope"}, r"nope"),
        ([""], {}, r"is not a CSV file"),
    ],
)
def test_a_wrong_label_file_is_one_clear_line(root, tmp_path, lines, fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_listing(spec(root, labels=csv(tmp_path, *lines), **fields))
    assert "\n" not in str(caught.value)


def test_missing_things_are_one_clear_line(root, tmp_path):
    with pytest.raises(ValueError, match=r"label file .*none.csv does not exist"):
        read_listing(spec(root, labels=str(tmp_path / "none.csv")))
    with pytest.raises(ValueError, match=r"unknown dataset 'folders'; nearest: folder"):
        read_listing(spec(root, dataset="folders"))
    with pytest.raises(ValueError, match=r"video directory .* does not exist"):
        read_listing(spec(tmp_path / "nowhere"))
    (root / "empty class").mkdir()
    with pytest.raises(ValueError, match=r"class directory .*empty class holds no videos"):
        read_listing(spec(root))


def kinetics(tmp_path, root, *lines):
    path = tmp_path / "val.txt"
    path.write_text("\n".join(lines) + "\n")
    labels = csv(tmp_path, "id,name", "0,walk", "1,wave a hand")
    return spec(root, dataset="kinetics", labels=labels, lists={"val": str(path)})


def test_kinetics_lists(root, tmp_path):
    given = kinetics(tmp_path, root, "walk/a.mp4 0", "wave a hand/c.mp4 0 1", "", "gone.mp4 1")
    assert listed(given) == {
        "walk/a.mp4": ("val", ["walk"]),
        "wave a hand/c.mp4": ("val", ["walk", "wave a hand"]),
        "gone.mp4": ("val", ["wave a hand"]),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4 7", r"line 1: label 7 is not in class list .*labels.csv"),
        ("a.mp4", "does not end in a label"),
        ("/videos/a.mp4 0", "'/videos/a.mp4' must be a path relative"),
        ("walk/../../a.mp4 0", "'walk/../../a.mp4' must be a path relative"),
        ("walk/a.mp4 0\nwalk/a.mp4 1", "'walk/a.mp4' and 'walk/a.mp4' are the same video"),
    ],
)
def test_a_wrong_kinetics_line_is_named(root, tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_listing(kinetics(tmp_path, root, line))


def test_kinetics_needs_its_files(root):
    with pytest.raises(ValueError, match=r"needs --labels DIR, .* or give --list SPLIT=FILE"):
        read_listing(spec(root, dataset="kinetics"))


def register(store, given, progress=None, **sizes):
    listing = read_listing(given)
    classes = register_classes(store, given.artifact_name, listing.classes)
    return classes, register_videos(store, given, listing, classes.artifact, progress, **sizes)


def test_a_file_that_ends_or_holds_up_the_process_costs_itself_only(root, tmp_path):
    for name in ("kills", "hangs"):
        shutil.copy(root / "walk/a.mp4", root / f"walk/{name}.mp4")
    store = Store(tmp_path / "store")
    listing = read_listing(spec(root))
    classes = register_classes(store, "folder", listing.classes)
    given = (store, spec(root), listing, classes.artifact)
    videos = register_videos(*given, deadline_s=3, probing=probe).artifact
    assert videos.manifest.config["deadline_s"] == 3, "another deadline is another artifact"
    found = {row["path"]: (row["status"], row["reason"]) for row in videos.read().to_pylist()}
    assert found == {
        "walk/a.mp4": ("ok", None),
        "walk/b.mp4": ("ok", None),
        "wave a hand/c.mp4": ("ok", None),
        "walk/hangs.mp4": ("unreadable", "reading took longer than 3 s"),
        "walk/kills.mp4": ("unreadable", "the process that read it died"),
    }


def test_registration_lists_every_file_with_its_status(root, tmp_path):
    (root / "walk/broken.mp4").write_text("no video")
    (root / "walk/empty.mp4").touch()
    labels = csv(
        tmp_path,
        "file,label",
        *(f"walk/{name}.mp4,walk" for name in ("a", "broken", "empty", "gone")),
    )
    seen = []
    store = Store(tmp_path / "store")
    classes, videos = register(
        store, spec(root, labels=labels), lambda *counts: seen.append(counts)
    )
    rows = {row["video_id"]: row for row in videos.artifact.read().to_pylist()}
    assert [rows[f"walk/{n}"]["status"] for n in ("a", "broken", "empty", "gone")] == [
        "ok",
        "unreadable",
        "unreadable",
        "missing",
    ]
    assert rows["walk/a"]["num_frames"] == 12
    assert rows["walk/a"]["codec"] == "h264"
    assert rows["walk/gone"]["reason"] == "no such file"
    assert rows["walk/empty"]["reason"] == "the file is empty"
    assert seen[-1] == (4, 4)
    assert classes.artifact.read()["name"].to_pylist() == ["walk"]
    assert videos.artifact.manifest.report["videos"] == {"ok": 1, "unreadable": 2, "missing": 1}


def test_the_key_follows_content_not_place(root, tmp_path):
    store = Store(tmp_path / "store")
    _, first = register(store, spec(root))
    moved = root.rename(tmp_path / "elsewhere")
    classes, again = register(store, spec(moved))
    assert not classes.made
    assert not again.made
    assert again.work == {}
    write_video(moved / "walk/a.mp4", 13)
    _, changed = register(store, spec(moved))
    assert changed.artifact.ref != first.artifact.ref


def test_two_files_of_one_id_are_refused_before_anything_is_published(root, tmp_path):
    write_video(root / "walk/a.avi", 3, "mpeg4")
    store = Store(tmp_path / "store")
    with pytest.raises(ValueError, match=r"'walk/a.avi' and 'walk/a.mp4' .* or rename a file"):
        register(store, spec(root))
    assert store.published() == []


def test_a_copied_dataset_has_the_same_content(root, tmp_path):
    (root / "walk/broken.mp4").write_text("no video")
    whole = (root / "walk/a.mp4").read_bytes()
    (root / "walk/half.mp4").write_bytes(whole[: len(whole) // 2])
    shutil.copytree(root, tmp_path / "copy")
    _, first = register(Store(tmp_path / "store"), spec(root))
    _, second = register(Store(tmp_path / "other"), spec(tmp_path / "copy"))
    assert first.artifact.manifest.report["videos"] == {"ok": 3, "unreadable": 2}
    assert first.artifact.manifest.content_hash == second.artifact.manifest.content_hash


def test_a_dangling_link_is_missing_and_a_directory_unreadable(root, tmp_path):
    (root / "walk/link.mp4").symlink_to(tmp_path / "gone.mp4")
    (root / "walk/directory.mp4").mkdir()
    _, videos = register(Store(tmp_path / "store"), spec(root))
    rows = {row["path"]: row["status"] for row in videos.artifact.read().to_pylist()}
    assert rows["walk/link.mp4"] == "missing"
    assert rows["walk/directory.mp4"] == "unreadable"


def test_parts_of_an_interrupted_registration_are_kept(root, tmp_path):
    for index in range(4):
        write_video(root / f"walk/more{index}.mp4", 3 + index)
    _, whole = register(Store(tmp_path / "whole"), spec(root))
    store = Store(tmp_path / "store")

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        register(store, spec(root), stop, part_rows=3)
    assert store.published("videos") == []
    counts = []
    _, videos = register(store, spec(root), lambda *each: counts.append(each), part_rows=3)
    assert videos.work == {"videos_probed": 4}
    assert counts == [(4, 7), (5, 7), (6, 7), (7, 7)]
    assert videos.artifact.read().to_pylist() == whole.artifact.read().to_pylist()
    assert videos.artifact.manifest.report["videos"] == {"ok": 7}
    assert [entry.num_rows for entry in videos.artifact.manifest.files] == [3, 3, 1]


def test_fingerprints_taken_before_change_nothing(root, tmp_path):
    listing = read_listing(spec(root))
    seen = []
    prints = fingerprints(root, listing, lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    store = Store(tmp_path / "store")
    classes, first = register(store, spec(root))
    again = register_videos(store, spec(root), listing, classes.artifact, prints=prints)
    assert not again.made
    assert again.artifact.ref == first.artifact.ref


def test_the_report_says_how_long_it_took(root, tmp_path):
    _, videos = register(Store(tmp_path / "store"), spec(root))
    report = videos.artifact.manifest.report
    assert report["duration_s"] > 0
    assert report["videos_per_s"] > 0


def test_no_absolute_path_is_stored(root, tmp_path):
    store = Store(tmp_path / "store")
    register(store, spec(root))
    for path in Path(tmp_path / "store").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()
