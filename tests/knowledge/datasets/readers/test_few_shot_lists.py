"""Lists of few-shot splits, in the two forms that CLIP-FSAR published."""

from collections import defaultdict

import pytest

from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from tests.video_files import write_video

PATHS = {
    "train": "train0//videos/brush_hair/April_brush_hair_u_nm_np1_ba_goo_0.avi\n"
    "train0//videos/brush_hair/(Rad)_Bank!_brush_hair_f_cm_np1_le_med_0.avi\n"
    "train1//videos/catch/a b_catch_u_cm_np1_fr_goo_1.avi\n",
    "val": "val0//val_256/cartwheel/c.avi\nval0//train_256/cartwheel/d.avi\n",
    "test": "\ntest0//videos/fencing/e.avi\r\ntest1//videos/kick/f.avi\r\n",
}
IDS = {"train": "train0/51958\ntrain1/103723\n", "val": "val0/46768\n", "test": "test0/88644\n"}


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def lists(tmp_path):
    def write(contents, **changes):
        (tmp_path / "lists").mkdir(exist_ok=True)
        for split, text in (contents | changes).items():
            if text is not None:
                (tmp_path / f"lists/{split}_few_shot.txt").write_text(text, newline="")
        return tmp_path / "lists"

    return write


def read(videos, directory, classes=None):
    return read_listing(spec(videos, directory, classes))


def spec(videos, directory, classes=None):
    classes = None if classes is None else str(classes)
    return DatasetSpec(
        dataset="few_shot_lists", videos=videos, labels=str(directory), classes=classes
    )


def found(listing):
    names = dict(zip(listing.classes["class_id"], listing.classes["name"], strict=True))
    return [(v.split, v.path, v.class_ids, names[v.class_ids[0]]) for v in listing.videos]


def test_lists_of_paths(videos, lists):
    listing = read(videos, lists(PATHS))
    hair = "videos/brush_hair/April_brush_hair_u_nm_np1_ba_goo_0.avi"
    odd = "videos/brush_hair/(Rad)_Bank!_brush_hair_f_cm_np1_le_med_0.avi"
    assert found(listing) == [
        ("train", hair, (0,), "brush_hair"),
        ("train", odd, (0,), "brush_hair"),
        ("train", "videos/catch/a b_catch_u_cm_np1_fr_goo_1.avi", (1,), "catch"),
        ("val", "val_256/cartwheel/c.avi", (2,), "cartwheel"),
        ("val", "train_256/cartwheel/d.avi", (2,), "cartwheel"),
        ("test", "videos/fencing/e.avi", (3,), "fencing"),
        ("test", "videos/kick/f.avi", (4,), "kick"),
    ]
    assert set(listing.list_files) == {f"{split}_few_shot.txt" for split in PATHS}
    classes = defaultdict(set)
    for video in listing.videos:
        classes[video.split] |= set(video.class_ids)
    assert not classes["train"] & (classes["val"] | classes["test"])
    assert not classes["val"] & classes["test"]


def test_a_class_list_gives_ids_and_spelling(videos, lists, tmp_path):
    listing = read(videos, lists(PATHS), "hmdb51")
    official = class_list("hmdb51")
    ids = dict(zip(official["name"], official["class_id"], strict=True))
    assert len(listing.classes) == 51
    assert {(name, *ids_of) for _, _, ids_of, name in found(listing)} == {
        (name, ids[name]) for name in ("brush_hair", "catch", "cartwheel", "fencing", "kick")
    }
    names = ("kick", "Brush Hair", "Catch", "cartwheel", "Fencing")
    (tmp_path / "own.csv").write_text(
        "id,name\n" + "".join(f"{5 - i},{name}\n" for i, name in enumerate(names))
    )
    listing = read(videos, lists(PATHS), tmp_path / "own.csv")
    assert found(listing)[0][2:] == ((4,), "Brush Hair")
    with pytest.raises(ValueError, match=r"class 'brush_hair' of the lists is not in class list u"):
        read(videos, lists(PATHS), "ucf101")


def test_lists_of_ids_take_names_by_place(videos, lists, tmp_path):
    (tmp_path / "names.csv").write_text("id,name\n3,d\n1,b\n0,a\n2,c\n")
    (videos / "deep").mkdir()
    (videos / "deep/88644.webm").touch()
    assert found(read(videos, lists(IDS), tmp_path / "names.csv")) == [
        ("train", "51958.mp4", (0,), "a"),
        ("train", "103723.mp4", (1,), "b"),
        ("val", "46768.mp4", (2,), "c"),
        ("test", "deep/88644.webm", (3,), "d"),
    ]
    with pytest.raises(ValueError, match=r"train_few_shot.txt, line 1: a list of video ids does"):
        read(videos, lists(IDS))
    (tmp_path / "names.csv").write_text("id,name\n0,a\n1,b\n")
    with pytest.raises(ValueError, match=r"has 2 classes, the lists have 4; give a row for each"):
        read(videos, lists(IDS), tmp_path / "names.csv")


def test_videos_are_found_in_another_layout(videos, lists):
    (videos / "kick").mkdir()
    (videos / "kick/f.avi").touch()
    (videos / "videos/fencing").mkdir(parents=True)
    for directory in ("videos/fencing", "kick"):
        (videos / directory / "e.avi").touch()
    paths = {video.path for video in read(videos, lists(PATHS)).videos}
    assert "kick/f.avi" in paths
    assert "videos/fencing/e.avi" in paths, "the listed path comes first"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val": None}, r"list file .*/lists/val_few_shot.txt does not exist"),
        ({"val": "test0//videos/cartwheel/c.avi\n"}, r"val_few_shot.txt, line 1: .* is not valNUM"),
        ({"val": "val//videos/cartwheel/c.avi\n"}, r"val_few_shot.txt, line 1: .* is not valNUM"),
        ({"val": "val0\n"}, r"val_few_shot.txt, line 1: 'val0' is not valNUMBER/ID or valNUMBER//"),
        (
            {"val": "val0//videos/kick/c.avi\n"},
            r"test_few_shot.txt, line 3: class 'kick' is test1 here and val0 before; few-shot spl",
        ),
        (
            {"val": "val0//videos/jump/c.avi\nval0//videos/run/d.avi\n"},
            r"line 2: class val0 is named 'run' here and 'jump' before",
        ),
        (
            {"val": "val0//videos/jump/c.avi\nval0//videos/jump/c.mp4\n"},
            r"are the same video 'videos/jump/c'",
        ),
    ],
)
def test_wrong_lists(videos, lists, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(videos, lists(PATHS, **changes))
    assert "\n" not in str(caught.value)


def test_registration(videos, lists, tmp_path):
    write_video(videos / "videos/kick/f.avi", 5, "mpeg4")
    given = spec(videos, lists(PATHS))
    store, listing = Store(tmp_path / "store"), read_listing(given)
    classes = register_classes(store, "few", listing.classes).artifact
    report = register_videos(store, given, listing, classes).artifact.manifest.report
    assert report["splits"] == {"train": 3, "val": 2, "test": 2}
    assert report["videos"] == {"ok": 1, "missing": 6}
    assert classes.read()["prompt_name"].to_pylist()[0] == "brush hair"
