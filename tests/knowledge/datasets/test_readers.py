"""Readers of datasets with official lists, on small trees written in the official formats."""

import hashlib
import json
from collections import Counter

import pytest

from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from tests.knowledge.datasets.reading import given_counts, read, rows, touch, write
from tests.video_files import write_video

# UCF101

UCF101 = {
    "classInd.txt": "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n",
    "trainlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
    "HandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n",
    "testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\r\n"
    "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi\r\n",
    "trainlist02.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\n",
    "testlist02.txt": "HandstandPushups/v_HandStandPushups_g08_c01.avi\n",
}


def test_ucf101(videos, lists):
    first = read("ucf101", videos, write(lists, UCF101))
    assert rows(first) == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": ("train", ["ApplyEyeMakeup"]),
        "HandstandPushups/v_HandStandPushups_g08_c01.avi": ("train", ["HandstandPushups"]),
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": ("test", ["ApplyEyeMakeup"]),
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi": ("test", ["ApplyEyeMakeup"]),
    }
    assert first.classes["class_id"].tolist() == [0, 1]
    assert rows(read("ucf101", videos, lists, split_number=1)) == rows(first)
    assert rows(read("ucf101", videos, lists, split_number=2)) == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi": ("train", ["ApplyEyeMakeup"]),
        "HandstandPushups/v_HandStandPushups_g08_c01.avi": ("test", ["HandstandPushups"]),
    }


def test_hashes_of_the_files_that_were_read(videos, lists):
    listing = read("ucf101", videos, write(lists, UCF101))
    assert listing.list_files == {
        name: hashlib.sha256(UCF101[name].encode()).hexdigest()
        for name in ("classInd.txt", "trainlist01.txt", "testlist01.txt")
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"testlist01.txt": None}, r"list file .*/lists/testlist01.txt does not exist"),
        ({"classInd.txt": None}, r"list file .*/lists/classInd.txt does not exist"),
        ({"classInd.txt": "0 A\n"}, r"classInd.txt, line 1: '0 A' is not a number from 1"),
        ({"classInd.txt": "ApplyEyeMakeup\n"}, r"line 1: 'ApplyEyeMakeup' is not a number from 1"),
        (
            {"testlist01.txt": "Jump/a_g01_c01.avi\n"},
            r"testlist01.txt, line 1: class 'Jump' is not",
        ),
        (
            {"testlist01.txt": "\nApplyEyeMakeup/v_g01_c01.avi 2\n"},
            r"testlist01.txt, line 2: 'ApplyEyeMakeup/v_g01_c01.avi' has id 2, in .* has 1",
        ),
        (
            {"testlist01.txt": "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c02.avi\n"},
            r"testlist01.txt, line 1: group 'ApplyEyeMakeup g08' is in test and in train",
        ),
        (
            {"testlist01.txt": UCF101["trainlist01.txt"]},
            r"group 'ApplyEyeMakeup g08' is in test and in train",
        ),
    ],
)
def test_wrong_ucf101_lists(videos, lists, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        read("ucf101", videos, write(lists, UCF101, **changes))
    assert "\n" not in str(caught.value)


# HMDB51

ODD = "Geri_-_Look_At_Me_+_Interview_(Jay_[Leno]_1999)_&_More!!!_#1_kick_f_cm_np10_le_med_0.avi"
HMDB51 = {
    "kick_test_split1.txt": f"{ODD} 1 \nfilm_kick_u_nm_np1_fr_goo_5.avi 2 \n"
    "film_kick_u_nm_np1_fr_goo_6.avi 0 \n",
    "kick_ball_test_split1.txt": "a b_kick_ball_u_nm_np1_fr_goo_5.avi 1 \n",
    "kick_test_split2.txt": "film_kick_u_nm_np1_fr_goo_6.avi 1\n",
    "kick_ball_test_split2.txt": "a b_kick_ball_u_nm_np1_fr_goo_5.avi 2\n",
    "readme.txt": "x",
}


def test_hmdb51(videos, lists):
    first = read("hmdb51", videos, write(lists, HMDB51))
    assert rows(first) == {
        f"kick/{ODD}": ("train", ["kick"]),
        "kick/film_kick_u_nm_np1_fr_goo_5.avi": ("test", ["kick"]),
        "kick_ball/a b_kick_ball_u_nm_np1_fr_goo_5.avi": ("train", ["kick_ball"]),
    }
    assert first.classes["name"].tolist() == ["kick", "kick_ball"]
    assert given_counts(first) == {"unused in this split": 1}
    assert set(first.list_files) == {"kick_test_split1.txt", "kick_ball_test_split1.txt"}
    assert Counter(v.split for v in read("hmdb51", videos, lists, split_number=2).videos) == {
        "train": 1,
        "test": 1,
    }


def test_the_bundled_hmdb51_list_has_the_readers_ids(videos, lists):
    bundled = class_list("hmdb51")
    for name in bundled["name"]:
        (lists / f"{name}_test_split1.txt").write_text(f"{name}.avi 1\n")
    assert read("hmdb51", videos, lists).classes.values.tolist() == bundled.values.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kick_ball_test_split1.txt": None}, r"kick_ball_test_split1.txt does not exist"),
        (
            {"kick_test_split1.txt": "a.avi 3\n"},
            r"kick_test_split1.txt, line 1: 'a.avi 3' does not",
        ),
        ({"kick_test_split1.txt": "1\n"}, r"kick_test_split1.txt, line 1: '1' does not end in"),
        (
            {
                "kick_test_split1.txt": "film_kick_u_nm_np1_fr_goo_5.avi 1\n"
                "film_kick_f_cm_np2_le_bad_0.avi 2\n"
            },
            r"line 2: group 'kick: film_kick' is in test and in train \(.*line 1\)",
        ),
    ],
)
def test_wrong_hmdb51_lists(videos, lists, changes, message):
    with pytest.raises(ValueError, match=message):
        read("hmdb51", videos, write(lists, HMDB51, **changes))


def test_hmdb51_needs_its_lists(videos, lists):
    with pytest.raises(ValueError, match=r"lists holds no files <class>_test_splitN.txt"):
        read("hmdb51", videos, lists)


# Something-Something v2


def ssv2(**changes):
    content = {
        "labels": {"Putting number of something onto something": "7", "Holding something": "3"},
        "train": [
            {
                "id": "78687",
                "label": "putting 3 cups onto table",
                "template": "Putting [number of] [something] onto [something]",
                "placeholders": ["3", "cups", "table"],
            }
        ],
        "validation": [{"id": "12", "label": "holding pen", "template": "Holding [something]"}],
        "test": [{"id": "1420"}, {"id": "3"}],
    }
    return {part: json.dumps(each) for part, each in (content | changes).items()}


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_ssv2(videos, lists, prefix):
    write(lists, {f"{prefix}{part}.json": text for part, text in ssv2().items()})
    touch(videos, "20bn-something-something-v2/12.mp4", "1420.webm")
    listing = read("ssv2", videos, lists)
    assert rows(listing) == {
        "78687.webm": ("train", ["Putting number of something onto something"]),
        "20bn-something-something-v2/12.mp4": ("val", ["Holding something"]),
    }
    assert {v.video_id: v.class_ids for v in listing.videos}["78687"] == (7,)
    assert given_counts(listing) == {"without a label": 2}
    assert len(listing.list_files) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": [{"id": "1", "template": "Eating [x]"}]}, r"train.json, id 1: template 'Eating"),
        ({"train": {"id": "1"}}, r"train.json is not an array of objects with an id"),
        ({"labels": ["Holding something"]}, r"labels.json is not an object of class names"),
    ],
)
def test_wrong_ssv2_files(videos, lists, changes, message):
    write(lists, {f"{part}.json": text for part, text in ssv2(**changes).items()})
    with pytest.raises(ValueError, match=message):
        read("ssv2", videos, lists)


def test_missing_and_broken_ssv2_files_are_named(videos, lists):
    files = {f"something-something-v2-{part}.json": text for part, text in ssv2().items()}
    write(lists, files, **{"something-something-v2-train.json": "[{"})
    with pytest.raises(ValueError, match=r"something-something-v2-train.json is not JSON: "):
        read("ssv2", videos, lists)
    (lists / "something-something-v2-validation.json").unlink()
    write(lists, {"something-something-v2-train.json": "[]"})
    with pytest.raises(ValueError, match=r"something-something-v2-validation.json does not exist"):
        read("ssv2", videos, lists)


# All of them


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51", "kinetics", "mini_kinetics200", "ssv2"])
def test_the_directory_of_lists_is_needed(videos, tmp_path, dataset):
    with pytest.raises(ValueError, match=f"dataset '{dataset}' needs --labels DIR, the directory"):
        read(dataset, videos)
    with pytest.raises(ValueError, match=r"--labels .*/nowhere is no directory; give that of"):
        read(dataset, videos, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("dataset", "fields", "flag"),
    [
        ("kinetics", {"split_number": 1}, "split-number"),
        ("folder", {"split_number": 2}, "split-number"),
        ("folder", {"lists": {"val": "x"}}, "list"),
        ("stickworld", {"classes": "ava"}, "classes"),
        ("ucf101", {"classes": "ucf101"}, "classes"),
        ("hmdb51", {"lists": {"val": "x"}}, "list"),
        ("ssv2", {"split_number": 1}, "split-number"),
    ],
)
def test_an_option_without_effect_is_refused(videos, lists, dataset, fields, flag):
    with pytest.raises(ValueError, match=f"--{flag} has no effect with dataset '{dataset}'"):
        read(dataset, videos, lists, **fields)


def test_split_numbers():
    with pytest.raises(ValueError, match=r"split_number"):
        DatasetSpec(dataset="ucf101", videos="x", split_number=4)


def test_registration_of_official_lists(videos, lists, tmp_path):
    write(lists, UCF101)
    write_video(videos / "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", 5, "mpeg4")

    def register(labels, number=None):
        spec = DatasetSpec(dataset="ucf101", videos=videos, labels=str(labels), split_number=number)
        listing = read_listing(spec)
        classes = register_classes(store, "ucf101", listing.classes).artifact
        return register_videos(store, spec, listing, classes), classes

    store = Store(tmp_path / "store")
    first, classes = register(lists)
    assert classes.read()["prompt_name"].to_pylist() == ["apply eye makeup", "handstand pushups"]
    report = first.artifact.manifest.report
    assert report["videos"] == {"ok": 1, "missing": 3}
    assert report["splits"] == {"train": 2, "test": 2}
    assert set(report["list_files"]) == {"classInd.txt", "trainlist01.txt", "testlist01.txt"}
    moved = lists.rename(tmp_path / "moved")
    assert not register(moved)[0].made
    write(moved, {"testlist01.txt": UCF101["testlist01.txt"].replace("\r\n", "\n")})
    assert not register(moved)[0].made
    second, same_classes = register(moved, 2)
    assert second.artifact.ref != first.artifact.ref
    assert same_classes.ref == classes.ref
