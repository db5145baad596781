"""What is found below a directory, what is left out, and that every link ends."""

import pytest

from knowledge.datasets.listing import read_listing, told
from knowledge.datasets.spec import DatasetSpec
from knowledge.datasets.video_files import VIDEO_SUFFIXES, VideoFiles, without_suffix
from knowledge.video.probing import probe
from tests.knowledge.datasets.reading import read, rows, touch
from tests.video_files import write_video

JUNK = {
    "__MACOSX/walk/._a.mp4": "folders named __MACOSX",
    ".Trash-1000/files/old.mp4": "folders named .Trash-1000",
    "$RECYCLE.BIN/S-1/$R1.mp4": "folders named $RECYCLE.BIN",
    "walk/@eaDir/a.mp4/SYNOVIDEO.jpg": "folders named @eaDir",
    "walk/.ipynb_checkpoints/a-checkpoint.mp4": "folders named .ipynb_checkpoints",
    "run/._b.mp4": "files named ._*",
    "run/Thumbs.db": "files named *.db",
    "run/list": "files named without a dot",
    "notes.txt": "files named *.txt",
}


@pytest.fixture
def junk(videos):
    """Two class directories as systems leave them."""
    touch(videos, "walk/a.mp4", "run/b.mp4", *JUNK)
    return videos


def test_what_systems_leave_behind_is_no_class_and_no_video_but_counted(junk):
    listing = read("folder", junk)
    assert rows(listing) == {"walk/a.mp4": ("train", ["walk"]), "run/b.mp4": ("train", ["run"])}
    assert listing.classes["name"].tolist() == ["run", "walk"]
    assert listing.counts == dict.fromkeys(JUNK.values(), 1)
    assert told(listing) == [
        f"left out or doubtful: {', '.join(f'{reason} (1)' for reason in listing.counts)}"
    ]


def test_what_systems_leave_behind_is_not_found_by_name(junk):
    files = VideoFiles(junk)
    assert files.find("old") is None
    assert files.find("a-checkpoint", "._b", "a") == "walk/a.mp4"
    assert files.counts == {"with several files": 0} | dict.fromkeys(JUNK.values(), 1)


def test_a_dataset_may_itself_lie_in_a_hidden_folder(tmp_path):
    touch(tmp_path, ".cache/walk/a.mp4")
    assert list(rows(read("folder", tmp_path / ".cache"))) == ["walk/a.mp4"]


def test_rare_kinds_of_files_are_counted_together(videos):
    touch(videos, "walk/a.mp4", *(f"walk/{n}.x{n}" for n in range(11)), "walk/1.x0")
    touch(videos, *(f"walk/.{n}/a.mp4" for n in range(10)))
    counts = dict(read("folder", videos).counts)
    assert counts["files named *.x0"] == 2
    assert (counts.pop("other files"), counts.pop("other folders")) == (3, 2)
    assert (sum(counts.values()), len(counts)) == (17, 16)


def test_videos_outside_class_directories_are_counted(videos):
    touch(videos, "walk/a.mp4", "b.mp4", "c.mp4")
    assert read("folder", videos).counts == {"videos outside class directories": 2}
    (videos / "walk/a.mp4").unlink()
    (videos / "walk").rmdir()
    with pytest.raises(ValueError, match=r"lists no videos.*outside class directories \(2\)"):
        read("folder", videos)


def test_every_suffix_that_is_written_here_is_a_video_in_any_case(videos):
    formats = {
        "a.wmv": "wmv2",
        "b.TS": "libx264",
        "c.flv": "flv",
        "d.3gp": "mpeg4",
        "e.asf": "wmv2",
        "f.Mts": "libx264",
        "g.vob": "mpeg2video",
        "h.mxf": "mpeg2video",
        "i.ogv": "libvpx",
        "j.f4v": "libx264",
    }
    for name, codec in formats.items():
        write_video(videos / "walk" / name, 12, codec, fps=25)
        assert probe(videos / "walk" / name).num_frames == 12, name
    listing = read("folder", videos)
    assert sorted(rows(listing)) == sorted(f"walk/{name}" for name in formats)
    assert listing.counts == {}
    files = VideoFiles(videos)
    assert [files.find(name[0]) for name in formats] == [f"walk/{name}" for name in formats]


def test_a_usual_format_comes_before_a_rare_one(videos):
    touch(videos, "a/v.3gp", "b/v.mp4", "c/v.webm")
    assert VideoFiles(videos).find("v") == "b/v.mp4"


def test_only_suffixes_of_videos_are_taken_off():
    assert without_suffix("a/v.1.mp4") == "a/v.1"
    assert without_suffix("a/v_g01.c02") == "a/v_g01.c02"
    assert {".avi", ".wmv", ".mxf"} <= VIDEO_SUFFIXES


def test_links_to_directories_are_followed_by_every_reader_and_loops_end(videos, tmp_path):
    touch(tmp_path, "disk/1/a.mp4", "disk/2/b.mp4")
    touch(videos, "run/c.mp4")
    (videos / "walk").symlink_to(tmp_path / "disk/1")
    (tmp_path / "disk/1/more").symlink_to(tmp_path / "disk/2")
    (tmp_path / "disk/2/back").symlink_to(tmp_path / "disk/1")
    (tmp_path / "disk/2/all").symlink_to(videos)
    (tmp_path / "disk/1/again").symlink_to("again")
    found = {"walk/a.mp4", "walk/more/b.mp4", "run/c.mp4"}
    listing = read("folder", videos)
    assert set(rows(listing)) == found
    assert {labels[0] for path, (_, labels) in rows(listing).items() if "walk" in path} == {"walk"}
    files = VideoFiles(videos)
    assert {files.find(stem) for stem in "abc"} == found
    assert files.num_repeated == 0


def test_an_empty_class_directory_says_what_it_holds(videos):
    touch(videos, "run/b.mp4", "walk/img_1.jpg", "walk/img_2.jpg")
    with pytest.raises(ValueError, match=r"walk holds no videos but files named \*.jpg; add some"):
        read("folder", videos)


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("Train", "validation"), ("train", "val")),
        (("valid", "Test"), ("val", "test")),
    ],
)
def test_split_directories_by_their_usual_names(videos, names, splits):
    touch(videos, *(f"{name}/walk/{name}.mp4" for name in names))
    assert rows(read("folder", videos)) == {
        f"{name}/walk/{name}.mp4": (split, ["walk"])
        for name, split in zip(names, splits, strict=True)
    }


def test_splits_beside_classes_are_refused_but_a_class_may_have_such_a_name(videos):
    touch(videos, "train/1.mp4", "car/2.mp4")
    assert read("folder", videos).classes["name"].tolist() == ["car", "train"]
    touch(videos, "test/walk/3.mp4")
    with pytest.raises(ValueError, match=r"'test', which is like a split, beside 'car'"):
        read("folder", videos)


def test_splits_below_classes_are_refused(videos):
    touch(videos, "walk/train/1.mp4", "walk/test/2.mp4", "run/train/3.mp4")
    with pytest.raises(ValueError, match=r"hold splits, such as walk/train; make it train/walk"):
        read("folder", videos)
    touch(videos, "run/4.mp4")
    assert len(read("folder", videos).videos) == 4


def test_advice_is_that_of_the_reader(videos, lists):
    (lists / "labels.csv").write_text("file,label\na.mp4,x\na.mp4,y\n")
    (lists / "test.txt").write_text("a.mp4 0\na.mp4 1\n")
    (lists / "classes.csv").write_text("id,name\n0,x\n1,y\n")
    given = {"lists": {"test": str(lists / "test.txt")}, "classes": str(lists / "classes.csv")}
    touch(videos, "x/a.mp4", "x/a.avi")
    messages = {}
    for how, fields in {
        "folder": {"labels": str(lists / "labels.csv"), "dataset": "folder"},
        "directories": {"dataset": "folder"},
        "lists": {"dataset": "lists", **given},
        "kinetics": {"dataset": "kinetics", **given},
    }.items():
        with pytest.raises(ValueError, match="are the same video") as caught:
            read_listing(DatasetSpec(videos=videos, **fields))
        messages[how] = str(caught.value)
    assert {how for how, text in messages.items() if "joined by |" in text} == {"folder"}
    assert {how for how, text in messages.items() if "on one line" in text} == {"lists", "kinetics"}
    assert all("rename a file" in text for text in messages.values())
