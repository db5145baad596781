"""Files appear whole or not at all, the first writer wins, and a lock excludes who it must."""

import hashlib

import pytest

from artifacts.files import (
    LOCK_FILE,
    DirectoryLock,
    HeldError,
    file_sha256,
    is_held,
    replacing,
    write_first,
)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_when_it_is_complete(tmp_path, durable):
    path = tmp_path / "facts.json"
    path.write_text("old")
    with replacing(path, durable=durable) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".facts.json.")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
        temporary.write_text("half, then \ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_name_of_a_hidden_file_begins_as_its_own(tmp_path):
    with replacing(tmp_path / ".checkpoint-1.json") as temporary:
        temporary.write_text("{}")
        assert temporary.name.startswith(".checkpoint-1.json.")


def test_the_first_content_stays(tmp_path):
    path = tmp_path / "failure"
    assert write_first(path, b"first")
    assert not write_first(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_is_that_of_the_content(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"\x00" * 300_000)
    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_lock_is_held_by_one_or_shared(tmp_path):
    directory = tmp_path / "draft"
    first, second = (DirectoryLock(directory, "it", shared=True) for _ in range(2))
    assert (directory / LOCK_FILE).exists()
    with pytest.raises(HeldError, match="another process is making it; wait"):
        DirectoryLock(directory, "it", wait_s=0.2)
    first.release()
    first.release()
    assert is_held(directory)
    del second
    assert not is_held(directory)
    alone = DirectoryLock(directory, "it")
    with pytest.raises(HeldError):
        DirectoryLock(directory, "it", shared=True, wait_s=0.2)
    alone.release()


def test_a_directory_that_is_gone_is_made_anew_or_refused(tmp_path):
    directory = tmp_path / "draft"
    with pytest.raises(FileNotFoundError):
        DirectoryLock(directory, "it", make=False)
    lock = DirectoryLock(directory, "it")
    directory.rename(tmp_path / "published")
    again = DirectoryLock(directory, "it")
    assert is_held(directory)
    lock.release()
    again.release()
