"""Neighbours of the formats: told apart, said, or refused where they cannot be told apart."""

import pytest

from knowledge.datasets.list_files import ListFiles, read_table
from knowledge.datasets.list_lines import path_and_numbers
from tests.knowledge.datasets.reading import read, rows, touch

CLASSES = "id,name\n" + "".join(f"{i},class {i}\n" for i in range(12))
HEADED = "path num_frames label\n"
PLAIN = {"a b.mp4": [3], "x/c.avi": [11], "d": [0]}
"""Two paths with a suffix, one without."""


def read_list(videos, lists, text, dataset="lists"):
    (lists / "val.txt").write_text(text)
    (lists / "classes.csv").write_text(CLASSES)
    given = {"lists": {"val": str(lists / "val.txt")}, "classes": str(lists / "classes.csv")}
    return read(dataset, videos, **given)


def labels(listing):
    return {video.path: list(video.class_ids) for video in listing.videos}


def written(separator, *, frames=None, header=False):
    """The plain list with a separator, frame counts and a header line."""
    lines = [["path", *(["num_frames"] if frames else []), "label"]] if header else []
    for number, (path, ids) in enumerate(PLAIN.items()):
        lines.append([path, *([str(frames[number])] if frames else []), *map(str, ids)])
    return "".join(separator.join(line) + "\n" for line in lines)


@pytest.mark.parametrize("dataset", ["lists", "kinetics"])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("frames", [None, (300, 250, 12)])
@pytest.mark.parametrize(
    ("separator", "name"), [(" ", "spaces"), ("\t", "tabs"), (",", "commas"), (", ", "commas")]
)
def test_every_form_gives_the_same_labels_and_is_told(
    videos, lists, separator, name, frames, header, dataset
):
    text = written(separator, frames=frames, header=header)
    listing = read_list(videos, lists, text, dataset=dataset)
    assert labels(listing) == PLAIN
    columns = "path num_frames label" if frames else "path label"
    ending = ", with a header line" if header else ""
    assert listing.forms == {"val.txt": f"{columns}, separated by {name}{ending}"}


def test_frame_counts_that_could_be_labels_are_refused_until_a_header_decides(videos, lists):
    lines = "a.mp4 10 0\nb.mp4 11 1\nc.mp4 300 2\n"
    with pytest.raises(ValueError, match=r"val.txt: every line has .* 2 numbers, such as '10 0'"):
        read_list(videos, lists, lines)
    by_frames = read_list(videos, lists, "path num_frames label\n" + lines)
    assert labels(by_frames) == {"a.mp4": [0], "b.mp4": [1], "c.mp4": [2]}
    with pytest.raises(ValueError, match="line 4: label 300 is not in class list"):
        read_list(videos, lists, "path label\n" + lines)
    by_labels = read_list(videos, lists, "path label\n" + lines.replace("300", "3"))
    assert labels(by_labels) == {"a.mp4": [0, 10], "b.mp4": [1, 11], "c.mp4": [2, 3]}


def test_several_labels_stay_several(videos, lists):
    listing = read_list(videos, lists, "a.mp4 10 0\nb.mp4 4\nc.mp4 1 2 3\n")
    assert labels(listing) == {"a.mp4": [0, 10], "b.mp4": [4], "c.mp4": [1, 2, 3]}
    listing = read_list(videos, lists, "a.mp4 163 0 3\nb.mp4 90 4\n")
    assert labels(listing) == {"a.mp4": [0, 3], "b.mp4": [4]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4 0 45 3\nb.mp4 45 90 4\n", "every line has at least 3 numbers, such as '0 45 3'"),
        ("a.mp4 300 12\nb.mp4 250 1\n", "line 1: label 12 is not in class list .*classes.csv"),
        ("a.mp4,0 1\nb.mp4,3 2\n", "line 1: 'a.mp4,0' may end in a label"),
        ("a.mp4 0,1\nb.mp4 3,2\n", "line 1: 'a.mp4 0' may end in a label"),
        ("a.mp4 0\nb.mp4,3\n", "line 2: 'b.mp4,3' does not end in a label id"),
        ("a.mp4;0\n", "line 1: 'a.mp4;0' does not end in a label id"),
        ("a.mp4 walking\n", "line 1: 'a.mp4 walking' does not end in a label id"),
        ("path start label\na.mp4 0 1\n", "line 1: column 'start' is not known"),
        (HEADED + "a.mp4 1\n", "line 2: no label follows the number of frames"),
    ],
)
def test_what_cannot_be_told_is_refused(videos, lists, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_list(videos, lists, text)
    assert "\n" not in str(caught.value)


def test_names_without_suffix_are_found_and_a_dot_in_them_is_kept(videos, lists):
    touch(videos, "x/v_1.5_g01.mp4", "v_1.webm")
    assert labels(read_list(videos, lists, "v_1.5_g01 1\nv_1 2\n")) == {
        "x/v_1.5_g01.mp4": [1],
        "v_1.webm": [2],
    }


def test_a_line_is_read_from_the_right():
    assert path_and_numbers("a 1 b.mp4 12 3") == ("a 1 b.mp4", (12, 3))
    assert path_and_numbers("12 3") == ("12", (3,))
    assert path_and_numbers('"a, b.mp4", 3', ",") == ("a, b.mp4", (3,))
    assert path_and_numbers("a, b.mp4,3", ",") == ("a,b.mp4", (3,))


# CSV files


def table(tmp_path, text):
    (tmp_path / "t.csv").write_text(text, newline="")
    return read_table(str(tmp_path / "t.csv"), "label file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n1.mp4,walking,\n2.mp4,running,\n", "line 2 has 3 fields, the header 2"),
        ("file,label\n1.mp4,walking, slowly\n", "line 2 has 3 fields, the header 2; put text"),
        ("file,label\n1.mp4,a\n\n2.mp4\n", "line 4 has 1 field, the header 2"),
        ('file,label\n1.mp4,"a\nb"\n2.mp4,b,c\n', "line 4 has 3 fields, the header 2"),
        ("file;label\n1.mp4;a;b\n", "line 2 has 3 fields, the header 2; .* a semicolon in double"),
        ("file,label,label\n1.mp4,a,b\n", "column 'label' occurs twice"),
        ('file,label\n1.mp4,"a\n2.mp4,b\n', "is not a CSV file: line 2: unexpected end of data"),
        ("\n \n", "is not a CSV file: it is empty"),
    ],
)
def test_a_line_that_moves_columns_is_refused_with_its_counts(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "label file" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'file,label\n1.mp4,"walking, slowly"\n2.mp4,007\n',
        'file, label\n1.mp4, "walking, slowly"\n\n2.mp4, 007\n',
        'file ;label\r\n1.mp4;"walking, slowly"\r\n2.mp4;007\r\n',
        "file\tlabel\n1.mp4\twalking, slowly\n2.mp4\t007\n",
    ],
)
def test_separators_and_blanks_do_not_change_a_table(tmp_path, text):
    found = table(tmp_path, text)
    assert list(found.columns) == ["file", "label"]
    assert found.values.tolist() == [["1.mp4", "walking, slowly"], ["2.mp4", "007"]]
    for line, file in zip(found.index, found["file"], strict=True):
        assert file in text.splitlines()[line - 1]


def folder(videos, lists, text, **fields):
    (lists / "labels.csv").write_text(text)
    return read("folder", videos, lists / "labels.csv", **fields)


def test_label_files_with_blanks_other_separators_and_without_header(videos, lists):
    expected = {"1.mp4": ("train", ["walk"]), "2.mp4": ("test", ["run"])}
    for text, form in {
        "file,label,split\n1.mp4,walk,train\n2.mp4,run,test\n": None,
        "file, label, split\n1.mp4, walk, train\n2.mp4, run, test\n": None,
        "file;label;split\n1.mp4;walk;train\n2.mp4;run;Test\n": "separated by semicolons",
        "1.mp4,walk,train\n2.mp4,run,test\n": "separated by commas, without a header line",
        "1.mp4\twalk\ttrain\n2.mp4\trun\ttest\n": "separated by tabs, without a header line",
    }.items():
        listing = folder(videos, lists, text)
        assert rows(listing) == expected
        told = {"labels.csv": f"columns file, label, split, {form}"} if form else {}
        assert listing.forms == told
    assert rows(folder(videos, lists, "1.mp4,walk\n")) == {"1.mp4": ("train", ["walk"])}
    with pytest.raises(ValueError, match="line 1: split 'run' is not one of"):
        folder(videos, lists, "1.mp4,walk,run\n")
    with pytest.raises(ValueError, match=r"columns are 1.mp4 0; need `file`|line 1 has"):
        folder(videos, lists, "1.mp4 0\n2.mp4 1\n")


def test_labels_that_are_numbers_need_a_class_list(videos, lists):
    text = "file,label\n1.mp4,3\n2.mp4,11|0\n"
    with pytest.raises(ValueError, match=r"its labels are numbers; give --classes"):
        folder(videos, lists, text)
    (lists / "classes.csv").write_text(CLASSES)
    listing = folder(videos, lists, text, classes=str(lists / "classes.csv"))
    assert labels(listing) == {"1.mp4": [3], "2.mp4": [0, 11]}
    assert listing.forms == {"labels.csv": "labels that are class ids"}
    (lists / "classes.csv").write_text("id,name\n0,11\n1,3\n2,0\n")
    listing = folder(videos, lists, text, classes=str(lists / "classes.csv"))
    assert labels(listing) == {"1.mp4": [1], "2.mp4": [0, 2]}
    assert listing.forms == {}


def test_class_lists_keep_their_lines(tmp_path):
    (tmp_path / "classes.csv").write_text("id, name\n\n0, walk\nx, run\n")
    with pytest.raises(ValueError, match=r"classes.csv, line 4: id 'x'"):
        ListFiles().classes(str(tmp_path / "classes.csv"))


# Official lists


def ucf(videos, lists, line):
    (lists / "classInd.txt").write_text("1 Walk\n2 Run\n")
    (lists / "trainlist01.txt").write_text(line)
    (lists / "testlist01.txt").write_text("")
    return list(rows(read("ucf101", videos, lists)))


def test_ucf101_lists_with_more_columns_are_refused_and_suffixes_may_lack(videos, lists):
    assert ucf(videos, lists, "Run/v_g01_c01 2\nRun/v_g01_c02\n") == [
        "Run/v_g01_c01.avi",
        "Run/v_g01_c02.avi",
    ]
    for line in ("Run/v_g01_c01 164 2", "Run/v_g01_c01.avi,2"):
        with pytest.raises(ValueError, match=r"line 1: .* is not `class/file` or `class/file id`"):
            ucf(videos, lists, line)


def test_other_official_lists_with_more_columns_are_refused(videos, lists):
    (lists / "kick_test_split1.txt").write_text("a 1\nb.AVI 2\n")
    assert list(rows(read("hmdb51", videos, lists))) == ["kick/a.avi", "kick/b.AVI"]
    (lists / "kick_test_split1.txt").write_text("a.avi 120 1\n")
    with pytest.raises(ValueError, match=r"line 1: 'a.avi 120 1' is not `file flag`"):
        read("hmdb51", videos, lists)
    for text in ("train0//walk/a.avi 5", "train0/88 5", "train0//walk/a.avi,5"):
        for split in ("train", "val", "test"):
            (lists / f"{split}_few_shot.txt").write_text(f"{text}\n".replace("train", split))
        with pytest.raises(ValueError, match=r"line 1: .* has more columns than"):
            read("few_shot_lists", videos, lists)
    (lists / "train_ytid_list.txt").write_text("abc 0\n")
    with pytest.raises(ValueError, match=r"line 1: 'abc 0' is not one YouTube id"):
        read("mini_kinetics200", videos, lists)


def test_copies_that_systems_leave_are_no_lists(videos, lists):
    (lists / "kick_test_split1.txt").write_text("a.avi 1\n")
    (lists / "._kick_test_split1.txt").write_bytes(b"\x00\x05\x16\x07")
    assert read("hmdb51", videos, lists).classes["name"].tolist() == ["kick"]
    (lists / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nkick,a,1,2,train\n"
    )
    (lists / "._train.csv").write_bytes(b"\x00\x05\x16\x07\xff")
    assert read("kinetics", videos, lists).classes["name"].tolist() == ["kick"]
