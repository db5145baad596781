"""Drafts that several processes write to: parts of all, published by one, excluding lone makers."""

import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.draft import Draft
from artifacts.files import LOCK_FILE, is_held
from artifacts.store import Store
from tests.artifacts.test_store import metrics_table, provenance

WRITER = """
import sys
sys.path.insert(0, {root!r})
from tests.artifacts.test_store import metrics_table, provenance
from artifacts.store import Store
draft = Store({store!r}).draft(provenance(), shared=True)
print("held", flush=True)
sys.stdin.readline()
draft.write(metrics_table(rows=2).slice(int(sys.argv[1]), 1), part=int(sys.argv[1]))
draft.close()
"""


def test_processes_share_a_draft_and_the_last_publishes(tmp_path):
    store = Store(tmp_path, lock_wait_s=0.2)
    root = str(Path(__file__).parents[2])
    code = WRITER.format(root=root, store=str(tmp_path))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(part)],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for part in (0, 1)
    ]
    assert [writer.stdout.readline() for writer in writers] == [b"held\n"] * 2
    draft = store.draft(provenance(), shared=True)
    with pytest.raises(ValueError, match="another process is making"):
        store.draft(provenance())
    with pytest.raises(ValueError, match="another process is making"):
        draft.publish()  # the writers still hold it
    for writer in writers:
        writer.communicate(b"go\n")
        assert writer.returncode == 0
    draft = store.draft(provenance(), shared=True)
    artifact = draft.publish()
    assert artifact.read().equals(metrics_table(rows=2))
    names = {path.name for path in Path(artifact.store.directory(artifact.ref)).iterdir()}
    assert names == {"manifest.json", "part-00000.parquet", "part-00001.parquet"}


def test_only_one_of_those_that_share_publishes(tmp_path):
    store = Store(tmp_path)
    first, second = (store.draft(provenance(), shared=True) for _ in range(2))
    first.write(metrics_table())
    second.write(metrics_table())
    second.close()
    first.publish()
    with pytest.raises(ValueError, match=r"metrics/demo@.* was published by another process"):
        second.publish()


def test_a_part_is_written_for_the_process_that_holds_the_draft(tmp_path):
    held = Store(tmp_path).draft(provenance())
    Draft(provenance(), held.directory).write(metrics_table())
    assert held.has(0)
    assert held.publish().read().equals(metrics_table())


def test_held_is_what_somebody_has_locked(tmp_path):
    draft = Store(tmp_path).draft(provenance(), shared=True)
    assert is_held(draft.directory)
    draft.close()
    assert not is_held(draft.directory)
    (draft.directory / LOCK_FILE).unlink()
    assert not is_held(draft.directory)
    assert not list(draft.directory.iterdir())


def test_what_a_job_keeps_beside_its_parts_outlives_a_failed_publication(tmp_path):
    store = Store(tmp_path)
    draft = store.draft(provenance())
    draft.write(metrics_table())
    kept = draft.directory / ".checkpoint"
    kept.write_text("days of work")
    in_the_way = tmp_path / "metrics"
    in_the_way.write_text("a file")
    with pytest.raises(OSError, match="metrics"):
        draft.publish()
    assert kept.exists()
    in_the_way.unlink()
    artifact = store.draft(provenance()).publish()
    assert artifact.read().equals(metrics_table())
    names = {path.name for path in Path(store.directory(artifact.ref)).iterdir()}
    assert names == {"manifest.json", "part-00000.parquet"}
