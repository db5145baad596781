"""The reader of list files, on small lists as evaluation protocols publish them."""

import pytest

from artifacts.store import Store
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from tests.video_files import write_video


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "lists").mkdir()
    for name, text in PROTOCOL.items():
        (tmp_path / "lists" / name).write_text(text, newline="")
    return tmp_path / "lists"


def read(videos, **fields):
    return read_listing(DatasetSpec(dataset="lists", videos=videos, **fields))


def rows(listing):
    names = dict(zip(listing.classes["class_id"], listing.classes["name"], strict=True))
    return {v.path: (v.split, [names[i] for i in v.class_ids]) for v in listing.videos}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


PROTOCOL = {
    "base.csv": "id,name\n0,Typing\n1,HandstandPushups\n",
    "novel.csv": 'id,name\n0,PlayingViolin\n1,"Pouring [x], then y"\n',
    "shots.txt": "v_Typing_g12_c03.avi 0\nv_HandStand_g01_c01.avi 1\n",
    "base_val.txt": "v_Typing_g01_c01.avi 0\ntrain/ID_0-_000055_000065.mp4 1\r\n",
    "novel_val.txt": "12.webm 1\nv_PlayingViolin_g01_c02.avi 0\n",
}


def protocol(lists, **files):
    return {"lists": {split: str(lists / name) for split, name in files.items()}}


def test_base_and_novel_lists_number_their_own_classes(videos, lists):
    touch(videos, "v_Typing_g12_c03.avi", "Typing/v_Typing_g01_c01.avi", "v_HandStand_g01_c01.mp4")
    base = protocol(lists, train="shots.txt", test="base_val.txt")
    listing = read(videos, **base, classes=str(lists / "base.csv"))
    assert rows(listing) == {
        "v_Typing_g12_c03.avi": ("train", ["Typing"]),
        "v_HandStand_g01_c01.mp4": ("train", ["HandstandPushups"]),
        "Typing/v_Typing_g01_c01.avi": ("test", ["Typing"]),
        "train/ID_0-_000055_000065.mp4": ("test", ["HandstandPushups"]),
    }
    assert listing.counts == {"found by name": 2, "with several files": 0}
    assert set(listing.list_files) == {"base.csv", "shots.txt", "base_val.txt"}
    novel = read(videos, labels=str(lists / "novel.csv"), **protocol(lists, test="novel_val.txt"))
    assert rows(novel) == {
        "12.webm": ("test", ["Pouring [x], then y"]),
        "v_PlayingViolin_g01_c02.avi": ("test", ["PlayingViolin"]),
    }
    assert novel.classes["class_id"].tolist() == [0, 1]


def test_a_listed_name_that_is_not_unique_is_not_looked_for(videos, lists):
    touch(videos, "walk/1.mp4")
    (lists / "again.txt").write_text("walk/1.mp4 0\nrun/1.mp4 1\n")
    given = protocol(lists, test="again.txt")
    listing = read(videos, **given, classes=str(lists / "base.csv"))
    assert [video.path for video in listing.videos] == ["walk/1.mp4", "run/1.mp4"]


def test_lists_need_lists_and_a_class_list(videos, lists):
    given = protocol(lists, test="novel_val.txt")
    with pytest.raises(ValueError, match="dataset 'lists' needs --list SPLIT=FILE"):
        read(videos, classes=str(lists / "base.csv"))
    with pytest.raises(ValueError, match="dataset 'lists' with --list needs --labels"):
        read(videos, **given)
    with pytest.raises(ValueError, match="'novel' is not one of train, val, test"):
        read(videos, labels=str(lists / "base.csv"), **protocol(lists, novel="novel_val.txt"))


def test_listed_videos_that_are_nowhere_stay_rows(videos, lists, tmp_path):
    write_video(videos / "any/v_PlayingViolin_g01_c02.avi", 5, "mpeg4")
    given = protocol(lists, test="novel_val.txt") | {"labels": str(lists / "novel.csv")}
    spec = DatasetSpec(dataset="lists", videos=videos, name="novel", **given)
    listing, store = read_listing(spec), Store(tmp_path / "store")
    classes = register_classes(store, "novel", listing.classes).artifact
    made = register_videos(store, spec, listing, classes).artifact
    found = {row["video_id"]: row["status"] for row in made.read().to_pylist()}
    assert found == {"12": "missing", "any/v_PlayingViolin_g01_c02": "ok"}
