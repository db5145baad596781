"""What a name means: the artifact that was made or found last, whatever else happens."""

import logging
import os
import subprocess
import sys
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from artifacts.processes import import_environment
from artifacts.store import USED, Store
from tests.artifacts.test_store import metrics_table, provenance


@pytest.fixture(params=["disk", "object-store"])
def store(request, tmp_path):
    if request.param == "disk":
        yield Store(tmp_path / "store")
    else:
        yield Store(f"memory://{tmp_path.name}")
        fsspec.filesystem("memory").rm("/", recursive=True)


def publish(store, seed):
    return store.publish(provenance(seed), metrics_table(seed / 10))


def meant(store):
    return store.get("metrics/demo").ref


def test_what_was_found_last_is_meant_until_something_newer_is_made(store):
    first, second = publish(store, 1), publish(store, 2)
    assert meant(store) == second.ref
    store.use(first)
    assert meant(store) == first.ref
    assert store.used_at(first) > store.used_at(second) == second.manifest.created
    store.use(second)
    store.use(first)
    store.use(second)
    assert meant(store) == second.ref
    store.use(first)
    third = publish(store, 3)
    assert meant(store) == third.ref
    assert store.get(str(second.ref)).ref == second.ref
    assert store.num_named(first.ref) == 3
    assert [each.ref for each in store.published()] == [first.ref, second.ref, third.ref]


def test_other_names_and_kinds_are_left_alone(store):
    first, second = publish(store, 1), publish(store, 2)
    other = provenance(1).model_copy(update={"name": "demo-test"})
    store.publish(other, metrics_table())
    store.use(first)
    store.use(store.get("metrics/demo-test"))
    assert meant(store) == first.ref
    assert store.num_named(second.ref) == 2


def test_a_clock_that_is_ahead_elsewhere_changes_nothing(store):
    first, second = publish(store, 1), publish(store, 2)
    store.use(first)
    ahead = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="microseconds")
    store.fs.pipe_file(f"{store.root}/{USED}/{first.ref}", ahead.encode())
    assert meant(store) == first.ref
    store.use(second)
    assert meant(store) == second.ref
    store.use(first)
    assert meant(store) == first.ref


@pytest.mark.parametrize("damage", [b"", b"yesterday", b"\xff\xfe"])
def test_a_mark_that_says_nothing_is_as_none(store, damage):
    first, second = publish(store, 1), publish(store, 2)
    store.use(first)
    store.fs.pipe_file(f"{store.root}/{USED}/{first.ref}", damage)
    assert meant(store) == second.ref
    store.use(first)
    assert meant(store) == first.ref


def test_a_store_that_cannot_be_marked_says_what_the_name_means(tmp_path, caplog):
    store = Store(tmp_path)
    first, second = publish(store, 1), publish(store, 2)
    (tmp_path / USED).write_text("no directory")
    with caplog.at_level(logging.WARNING):
        store.use(second)
        assert not caplog.messages, "the name means it anyway"
        store.use(first)
    [said] = caplog.messages
    assert f"metrics/demo goes on to mean {second.ref}" in said
    assert f"give {first.ref}" in said
    assert meant(store) == second.ref


def test_a_read_only_file_system_can_be_used(tmp_path, caplog):
    store = Store(tmp_path / "store")
    first, second = publish(store, 1), publish(store, 2)
    store.use(first)
    with zipfile.ZipFile(tmp_path / "store.zip", "w") as file:
        for path in sorted((tmp_path / "store").rglob("*")):
            file.write(path, path.relative_to(tmp_path))
    packed = Store(f"zip://store::{tmp_path / 'store.zip'}")
    assert meant(packed) == first.ref
    assert packed.find(provenance(2)).read().equals(second.read())
    with caplog.at_level(logging.WARNING):
        packed.use(packed.get(second.ref))
    assert meant(packed) == first.ref
    [said] = caplog.messages
    assert f"goes on to mean {first.ref}" in said


USING = """
import sys
from artifacts.store import Store
store = Store(sys.argv[1])
artifact = store.get(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    store.use(artifact)
    assert store.get("metrics/demo").manifest.name == "demo"
"""


def test_processes_that_use_different_ones_at_once(tmp_path):
    store = Store(tmp_path)
    made = [publish(store, seed) for seed in range(1, 4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", USING, str(tmp_path), str(each.ref)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | import_environment(),
        )
        for each in made[:2]
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    marks = sorted(path.name for path in Path(tmp_path, USED, "metrics").iterdir())
    assert marks == sorted(str(each.ref).split("/")[1] for each in made[:2])
    assert meant(store) in {each.ref for each in made[:2]}
    store.use(made[2])
    assert meant(store) == made[2].ref


def test_gc_removes_the_marks_of_what_is_gone_and_no_other(tmp_path):
    store = Store(tmp_path)
    first, second = publish(store, 1), publish(store, 2)
    for each in (first, second):
        store.use(each)
    for path in Path(store.directory(second.ref)).iterdir():
        path.unlink()
    Path(store.directory(second.ref)).rmdir()
    assert meant(store) == first.ref
    assert store.gc(3600) == []
    time.sleep(0.01)
    assert store.gc(0) == [f"{store.root}/{USED}/{second.ref}"]
    assert meant(store) == first.ref
    again = publish(store, 2)
    assert meant(store) == again.ref
