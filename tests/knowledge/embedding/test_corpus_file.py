"""Texts of a file: each once, what cannot be used is counted."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from knowledge.embedding.corpus_file import corpus_name, corpus_sha256, read_corpus_file

LINES = "run\n  jump \n\nrun\nEssen und Trinken\n \n"


def test_each_line_of_a_text_file_is_a_text_once(tmp_path):
    path = tmp_path / "verbs.txt"
    path.write_bytes(b"\xef\xbb\xbf" + LINES.encode())
    found = read_corpus_file(path)
    assert found.table.to_pylist() == [
        {"text_id": "1", "text": "run", "class": None, "class_id": None},
        {"text_id": "2", "text": "jump", "class": None, "class_id": None},
        {"text_id": "5", "text": "Essen und Trinken", "class": None, "class_id": None},
    ]
    assert found.num_rows == 6
    assert found.left_out == {"empty": 2, "repeated": 1}
    assert corpus_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


ROWS = {
    "class": ["b", None, "a", "b", "a", "b"],
    "text": ["one", "two", "three", "four, or\nfive", "six", "six"],
    "text_id": ["t1", "t2", "t3", "t4", "t5", "t6"],
    "other": [1, 2, 3, 4, 5, 6],
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_columns_of_a_table_are_found_by_name(tmp_path, suffix):
    path = tmp_path / f"texts.{suffix}"
    table = pa.table(ROWS)
    if suffix == "csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        pq.write_table(table, path)
    found = read_corpus_file(path)
    assert found.table.to_pylist() == [
        {"text_id": "t1", "text": "one", "class": "b", "class_id": 0},
        {"text_id": "t2", "text": "two", "class": None, "class_id": None},
        {"text_id": "t3", "text": "three", "class": "a", "class_id": 1},
        {"text_id": "t4", "text": "four, or\nfive", "class": "b", "class_id": 0},
    ]
    assert found.left_out == {"several classes": 2}


def test_a_text_with_and_without_class_is_of_that_class(tmp_path):
    pq.write_table(pa.table({"text": ["x", "x"], "class": [None, "a"]}), tmp_path / "t.parquet")
    found = read_corpus_file(tmp_path / "t.parquet")
    assert found.table.to_pylist() == [{"text_id": "1", "text": "x", "class": "a", "class_id": 0}]
    assert found.left_out == {"repeated": 1}


def write(path, content):
    if isinstance(content, dict):
        pq.write_table(pa.table(content), path)
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", {"name": ["x"]}, "has no column `text`"),
        ("a.csv", b"name\nx\n", "has no column `text`"),
        ("a.parquet", b"nothing", "cannot be read"),
        ("a.txt", b"\xff\xfe\x00x", "cannot be read"),
        ("a.txt", b"\n \n", "holds no text that could be a negative"),
        ("a.parquet", {"text": ["x", "x"], "class": ["a", "b"]}, "holds no text"),
        ("a.parquet", {"text": ["x", "y"], "text_id": ["1", None]}, "row 2 has no text_id"),
        ("a.parquet", {"text": ["x", "y"], "text_id": ["1", "1"]}, "'1' occurs in several rows"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_corpus_file(write(tmp_path / name, content))


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"give a file ending in \.txt, \.csv, \.parquet"):
        corpus_sha256(tmp_path / "a.json")
    with pytest.raises(ValueError, match="does not exist"):
        corpus_sha256(tmp_path / "a.txt")


def test_an_artifact_is_called_like_the_file(tmp_path):
    assert corpus_name(tmp_path / "My texts (2).txt") == "My-texts-2-"
    assert corpus_name(tmp_path / "动作.csv") == "corpus"


def test_words_that_mean_nothing_elsewhere_are_texts_here(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text_id,text\nNA,null\nb,NaN\n")
    found = read_corpus_file(path).table
    assert found["text_id"].to_pylist() == ["NA", "b"]
    assert found["text"].to_pylist() == ["null", "NaN"]


def test_blanks_after_commas_hide_no_column(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text, class, text_id\nrun, walk, 007\njump,"a, b", 8\n')
    assert read_corpus_file(path).table.to_pylist() == [
        {"text_id": "007", "text": "run", "class": "walk", "class_id": 0},
        {"text_id": "8", "text": "jump", "class": "a, b", "class_id": 1},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "text,class\nrun,walk\njump, high,leap\n",
            r"Row #3: Expected 2 columns, got 3: jump, high",
        ),
        ("text,class\nrun\n", r"Row #2: Expected 2 columns, got 1"),
        ("text,text\nrun,walk\n", r"column 'text' occurs twice"),
        ("text,text \nrun,walk\n", r"column 'text' occurs twice"),
    ],
)
def test_columns_that_move_are_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_corpus_file(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)
