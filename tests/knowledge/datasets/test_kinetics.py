"""The readers of Kinetics and Mini-Kinetics-200, on small trees written in the official formats."""

import pytest

from tests.knowledge.datasets.reading import given_counts, read, rows, touch, write

HEADER = "label,youtube_id,time_start,time_end,split\n"
KINETICS = {
    "train.csv": HEADER + '"zumba","-abc_DEF-12",84,94,"train"\n'
    '"playing (ping, pong)",clip_is_flat,5,15,train\n'
    "air drumming,in_its_clas,1,11,train\n"
    "air drumming,never_there,0,10,train\n"
    "zumba,only_its_id,3,13,train\n"
    "zumba,twice_here_,3,13,train\n"
    "zumba,twice_here_,23,33,train\n",
    "validate.csv": HEADER + "zumba,in_val_dir_,100000,100010,validate\n",
    "test.csv": "youtube_id,time_start,time_end,split\nhidden_lab,1,2,test\n",
    "classes.csv": "id,name\n0,unrelated\n",
}


def test_kinetics_csv_files_and_any_layout(videos, lists):
    touch(
        videos,
        "train/zumba/-abc_DEF-12_000084_000094.mp4",
        "clip_is_flat_000005_000015.mkv",
        "air_drumming/in_its_clas_000001_000011.webm",
        "train_256/zumba/only_its_id.mp4",
        "twice_here_.mp4",
        "twice_here__000023_000033.mp4",
        "val/in_val_dir__100000_100010.mp4",
        "val/in_val_dir__100000_100010.txt",
        "replacement/in_val_dir__100000_100010.mp4",
    )
    listing = read("kinetics", videos, write(lists, KINETICS))
    assert rows(listing) == {
        "train/zumba/-abc_DEF-12_000084_000094.mp4": ("train", ["zumba"]),
        "clip_is_flat_000005_000015.mkv": ("train", ["playing (ping, pong)"]),
        "air_drumming/in_its_clas_000001_000011.webm": ("train", ["air drumming"]),
        "never_there_000000_000010.mp4": ("train", ["air drumming"]),
        "train_256/zumba/only_its_id.mp4": ("train", ["zumba"]),
        "twice_here__000003_000013.mp4": ("train", ["zumba"]),
        "twice_here__000023_000033.mp4": ("train", ["zumba"]),
        "replacement/in_val_dir__100000_100010.mp4": ("val", ["zumba"]),
    }
    assert listing.classes.values.tolist() == [
        [0, "air drumming", "all"],
        [1, "playing (ping, pong)", "all"],
        [2, "zumba", "all"],
    ]
    assert given_counts(listing) == {
        "without a label": 1,
        "with several files": 1,
        "files named *.txt": 1,
        "CSV files with other columns": 1,
    }
    one_file = read("kinetics", videos, lists / "validate.csv", classes="kinetics400")
    assert [v.class_ids for v in one_file.videos] == [(399,)]
    assert len(one_file.classes) == 400


def test_links_to_directories_are_followed_once(videos, tmp_path):
    touch(tmp_path, "elsewhere/in_val_dir__100000_100010.mp4")
    (videos / "a").symlink_to(tmp_path / "elsewhere")
    (videos / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/loop").symlink_to(videos)
    (tmp_path / "val.csv").write_text(KINETICS["validate.csv"])
    listing = read("kinetics", videos, tmp_path / "val.csv")
    assert [v.path for v in listing.videos] == ["a/in_val_dir__100000_100010.mp4"]
    assert given_counts(listing) == {}


def test_repeated_rows_and_shared_youtube_videos_are_counted(videos, lists):
    again = KINETICS["train.csv"] + "zumba,only_its_id,3,13,train\nzumba,in_val_dir_,1,11,train\n"
    listing = read("kinetics", videos, write(lists, KINETICS, **{"train.csv": again}))
    assert given_counts(listing) == {
        "without a label": 1,
        "listed again": 1,
        "CSV files with other columns": 1,
        "YouTube videos in several splits": 1,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"k600_train.csv": KINETICS["train.csv"]},
            r"both list split train; keep the files of one",
        ),
        ({"train.csv": HEADER + "a,b,1,2,dev\n"}, r"train.csv, line 2: split 'dev' is not one of"),
        ({"train.csv": HEADER + "a,b,x,2,train\n"}, r"line 2: times 'x' and '2' are not seconds"),
        (
            {"train.csv": HEADER + "a,in_val_dir_,100000,100010,train\n"},
            r"are the same video 'in_val_dir__100000_100010'",
        ),
    ],
)
def test_wrong_kinetics_csv_files(videos, lists, changes, message):
    with pytest.raises(ValueError, match=message):
        read("kinetics", videos, write(lists, KINETICS, **changes))


def test_kinetics_sources_are_told_apart(videos, lists):
    write(lists, {"classes.csv": "id,name\n0,zumba\n", "val.txt": "a b.mp4 0\n"})
    val = {"val": str(lists / "val.txt")}
    with pytest.raises(ValueError, match=r"no rows with columns label, youtube_id, .*--list"):
        read("kinetics", videos, lists)
    with pytest.raises(ValueError, match=r"no rows with columns label"):
        read("kinetics", videos, lists / "classes.csv")
    with pytest.raises(ValueError, match=r"needs --labels LABELS.csv \(id,name\) or --classes"):
        read("kinetics", videos, lists=val)
    with pytest.raises(ValueError, match=r"or --classes, not both"):
        read("kinetics", videos, lists / "classes.csv", lists=val, classes="kinetics400")
    write(lists, KINETICS)
    with pytest.raises(ValueError, match=r"class 'zumba' is not in class list stickworld"):
        read("kinetics", videos, lists / "validate.csv", classes="stickworld")


def test_list_files_of_one_name_keep_both_hashes(videos, lists):
    write(lists, {"classes.csv": "id,name\n0,zumba\n"})
    paths = {}
    for split in ("train", "val"):
        (lists / split).mkdir()
        (lists / split / "list.txt").write_text(f"{split}.mp4 0\n")
        paths[split] = str(lists / split / "list.txt")
    listing = read("kinetics", videos, lists / "classes.csv", lists=paths)
    assert set(listing.list_files) == {"classes.csv", "list.txt", "list.txt (2)"}


def test_mini_kinetics200(videos, lists):
    ids = {
        "train_ytid_list.txt": "-abc_DEF-12\nclip_is_flat\ntwice_here_\nin_val_dir_\ngone_for_ev\n",
        "val_ytid_list.txt": "in_val_dir_\n",
    }
    touch(videos, "clip_is_flat_000005_000015.mp4")
    listing = read("mini_kinetics200", videos, write(lists, KINETICS | ids))
    assert rows(listing) == {
        "-abc_DEF-12_000084_000094.mp4": ("train", ["zumba"]),
        "clip_is_flat_000005_000015.mp4": ("train", ["playing (ping, pong)"]),
        "twice_here__000003_000013.mp4": ("train", ["zumba"]),
        "twice_here__000023_000033.mp4": ("train", ["zumba"]),
        "in_val_dir__100000_100010.mp4": ("val", ["zumba"]),
    }
    assert listing.classes["name"].tolist() == ["playing (ping, pong)", "zumba"]
    assert given_counts(listing) == {
        "not in the CSV files": 2,
        "CSV files with other columns": 1,
    }
    assert {"train_ytid_list.txt", "val_ytid_list.txt", "train.csv"} <= set(listing.list_files)
    (lists / "val_ytid_list.txt").unlink()
    with pytest.raises(ValueError, match=r"val_ytid_list.txt does not exist"):
        read("mini_kinetics200", videos, lists)
    write(lists, {"train_ytid_list.txt": "x\n", "val_ytid_list.txt": "y\n"})
    with pytest.raises(ValueError, match=r"lists: the CSV files list no id of the two id lists"):
        read("mini_kinetics200", videos, lists)
