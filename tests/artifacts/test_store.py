"""The store: atomic, write-once, verified, resumable; on disk and on an object store."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.artifact import CorruptArtifactError
from artifacts.files import DirectoryLock
from artifacts.kinds import SCHEMAS, schema_of
from artifacts.provenance import ArtifactRef, Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor, read_tensor


def metrics_table(value=0.5, rows=3):
    return pa.table(
        {
            "split": ["test"] * rows,
            "protocol": [f"p{i}" for i in range(rows)],
            "metric": ["top1"] * rows,
            "value": [value] * rows,
            "num_videos": pa.array([7] * rows, pa.int32()),
        },
        schema=schema_of("metrics").arrow(),
    )


def provenance(seed=0, **inputs):
    return Provenance(
        kind="metrics", name="demo", config={"seed": seed}, inputs=dict(inputs_of(**inputs))
    )


@pytest.fixture(params=["disk", "object-store"])
def store(request, tmp_path):
    if request.param == "disk":
        yield Store(tmp_path / "store")
    else:
        url = f"memory://{tmp_path.name}"
        yield Store(url)
        fsspec.filesystem("memory").rm("/", recursive=True)


def test_publish_then_find_get_and_read(store):
    made = store.publish(provenance(), metrics_table(), {"rows": 3})
    assert store.find(provenance()).read().equals(metrics_table())
    assert store.get("metrics/demo").ref == made.ref
    assert store.get(f"metrics/demo@{made.manifest.key[:6]}").manifest == made.manifest
    assert made.manifest.report == {"rows": 3}
    assert store.find(provenance(seed=1)) is None
    made.verify()


def test_same_key_same_content_is_one_artifact_and_other_content_is_refused(store):
    first = store.publish(provenance(), metrics_table())
    assert store.publish(provenance(), metrics_table()).manifest == first.manifest
    with pytest.raises(ValueError, match="exists with other content"):
        store.publish(provenance(), metrics_table(value=0.6))
    assert store.find(provenance()).read().equals(metrics_table())


def test_key_depends_on_config_and_input_content_but_not_on_name_or_place(tmp_path):
    one, two = Store(tmp_path / "a"), Store(tmp_path / "b")
    first = one.publish(provenance(), metrics_table())
    same = two.publish(provenance(), metrics_table())
    assert (first.manifest.key, first.manifest.content_hash) == (
        same.manifest.key,
        same.manifest.content_hash,
    )
    other = one.publish(provenance(seed=1), metrics_table(value=0.7))
    keys = {provenance(2).key, provenance(2, a=first).key, provenance(2, a=other).key}
    assert len(keys) == 3
    assert provenance(2, a=first).key == provenance(2, a=same).key
    assert provenance(0).model_copy(update={"name": "x"}).key == provenance(0).key


def test_reading_a_damaged_or_missing_part_names_artifact_file_and_remedy(tmp_path):
    store = Store(tmp_path)
    artifact = store.publish(provenance(), metrics_table())
    path = Path(store.directory(artifact.ref)) / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptArtifactError, match=r"metrics/demo@.*part-00000.*SHA-256.*remove"):
        artifact.read()
    path.unlink()
    with pytest.raises(CorruptArtifactError, match="the file is missing"):
        artifact.read()


def test_parts_come_one_at_a_time_and_verified(tmp_path):
    store = Store(tmp_path)
    with contextlib.closing(store.draft(provenance())) as draft:
        for part in range(3):
            table = metrics_table(rows=part + 1)
            names = pa.array([f"{part}-{i}" for i in range(part + 1)])
            place = table.column_names.index("protocol")
            draft.write(table.set_column(place, table.schema.field("protocol"), names), part)
        artifact = draft.publish()
    parts = list(artifact.parts(["protocol"]))
    assert [part.column_names for part in parts] == [["protocol"]] * 3
    assert [part.num_rows for part in parts] == [1, 2, 3]
    assert pa.concat_tables(parts).equals(artifact.read(["protocol"]))
    (Path(store.directory(artifact.ref)) / "part-00001.parquet").write_bytes(b"damaged")
    remaining = artifact.parts(["protocol"])
    assert next(remaining).num_rows == 1
    with pytest.raises(CorruptArtifactError, match="part-00001"):
        next(remaining)


def test_parts_are_written_with_page_checksums(tmp_path):
    store = Store(tmp_path)
    artifact = store.publish(provenance(), metrics_table(rows=1000))
    path = Path(store.directory(artifact.ref)) / "part-00000.parquet"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 8] ^= 4
    path.write_bytes(damaged)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_draft_goes_on_where_it_was_left_and_drops_damaged_parts(tmp_path):
    store = Store(tmp_path)
    draft = store.draft(provenance())
    draft.write(metrics_table(rows=2).slice(0, 1), part=0)
    draft.write(metrics_table(rows=2).slice(1, 1), part=1)
    draft.close()
    again = Store(tmp_path).draft(provenance())
    assert [again.has(part) for part in range(3)] == [True, True, False]
    part = again.directory / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-4])
    assert not again.has(1)
    again.write(metrics_table(rows=2).slice(1, 1), part=1)
    assert again.publish().read().equals(metrics_table(rows=2))
    assert not again.directory.exists()


WRITER = """
import sys
sys.path.insert(0, {root!r})
from tests.artifacts.test_store import metrics_table, provenance
from artifacts.store import Store
store = Store({store!r})
seed = int(sys.argv[1])
store.publish(provenance(seed), metrics_table(value=float(seed), rows=2000))
print("go", flush=True)
while True:
    seed += 1
    store.publish(provenance(seed), metrics_table(value=float(seed), rows=2000))
"""


def test_kill_9_at_any_instant_leaves_nothing_half_visible(tmp_path):
    root = str(Path(__file__).parents[2])
    code = WRITER.format(root=root, store=str(tmp_path / "store"))
    start = 0
    for delay in (0.005, 0.02, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(start)], stdout=subprocess.PIPE, cwd=root
        )
        assert process.stdout.readline() == b"go\n"
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        published = Store(tmp_path / "store").published()
        for artifact in published:
            artifact.verify()
        start += 1000
    assert published
    store = Store(tmp_path / "store")
    store.gc(min_age_s=0)
    assert not list((tmp_path / "store").glob(".drafts/*"))
    assert len(store.published()) == len(published)


def test_gc_spares_what_is_young_and_what_is_published(tmp_path):
    store = Store(tmp_path)
    store.publish(provenance(), metrics_table())
    draft = store.draft(provenance(seed=1))
    draft.write(metrics_table())
    orphan = tmp_path / "metrics" / "demo@0123456789abcdef"
    orphan.mkdir()
    assert store.gc(min_age_s=3600) == []
    assert store.gc(min_age_s=0) == [str(orphan)]  # the draft is held
    draft.close()
    assert store.gc(min_age_s=0) == [str(draft.directory)]
    assert len(store.published()) == 1
    with pytest.raises(ValueError, match="negative"):
        store.gc(min_age_s=-1)


def test_gc_removes_what_a_kill_while_publishing_left_beside_an_artifact(tmp_path):
    store = Store(tmp_path)
    artifact = store.publish(provenance(), metrics_table())
    directory = Path(store.directory(artifact.ref))
    before = sorted(directory.iterdir())
    lock = DirectoryLock(directory, "it")
    (directory / ".checkpoint.safetensors").write_bytes(b"weights")
    assert store.gc(min_age_s=0) == []  # its job goes on
    lock.release()
    assert store.gc(min_age_s=3600) == []
    left_over = [directory / ".checkpoint.safetensors", directory / ".lock"]
    assert sorted(store.gc(min_age_s=0)) == [str(path) for path in left_over]
    assert sorted(directory.iterdir()) == before
    artifact.verify()


def test_a_held_draft_is_refused_to_others_and_freed_by_publication(tmp_path):
    first = Store(tmp_path).draft(provenance())
    with pytest.raises(ValueError, match="another process is making metrics/demo@"):
        Store(tmp_path, lock_wait_s=0.2).draft(provenance())
    first.write(metrics_table())
    first.publish()
    second = Store(tmp_path).draft(provenance())
    second.write(metrics_table())
    assert second.publish().read().equals(metrics_table())


class Overtaken(Store):
    """Another process begins the same artifact the moment this one has moved its draft away."""

    def _move(self, draft, manifest):
        published = super()._move(draft, manifest)
        self.other = Store(self.root).draft(draft.provenance)
        return published


def test_publication_spares_a_draft_begun_meanwhile(tmp_path):
    store = Overtaken(tmp_path / "store")
    made = store.publish(provenance(), metrics_table())
    store.other.write(metrics_table())
    assert store.other.publish().ref == made.ref
    assert not list(store.drafts.iterdir())


def test_what_a_killed_write_left_is_not_published(tmp_path):
    store = Store(tmp_path)
    draft = store.draft(provenance())
    (draft.directory / ".part-00000.parquet.deadbeef").write_bytes(b"half")
    draft.write(metrics_table())
    directory = Path(store.directory(draft.publish().ref))
    names = sorted(path.name for path in directory.iterdir())
    assert names == ["manifest.json", "part-00000.parquet"]


def test_a_directory_without_manifest_does_not_stand_in_the_way(tmp_path):
    store = Store(tmp_path)
    left = Path(store.directory(provenance().ref))
    left.mkdir(parents=True)
    (left / "part-00007.parquet").write_bytes(b"half")
    assert store.publish(provenance(), metrics_table()).read().equals(metrics_table())


def test_a_key_repeated_over_parts_is_refused(tmp_path):
    draft = Store(tmp_path).draft(provenance())
    draft.write(metrics_table(rows=2), part=0)
    draft.write(metrics_table(rows=1), part=1)
    with pytest.raises(ValueError, match=r"'protocol': 'p0'.* occurs in 2 rows"):
        draft.publish()
    assert not Store(tmp_path).published()


def test_one_damaged_manifest_hides_only_itself(tmp_path):
    store = Store(tmp_path)
    kept = store.publish(provenance(), metrics_table())
    other = Provenance(kind="metrics", name="other", config={})
    damaged = store.publish(other, metrics_table())
    (Path(store.directory(damaged.ref)) / "manifest.json").write_text("{")
    assert [artifact.ref for artifact in store.published()] == [kept.ref]
    assert store.get("metrics/demo").ref == kept.ref
    assert len(store.damaged()) == 1
    with pytest.raises(CorruptArtifactError, match=r"metrics/other@.*not a manifest"):
        store.get("metrics/other")


def test_an_older_schema_version_is_intact_but_not_read(tmp_path, monkeypatch):
    store = Store(tmp_path)
    artifact = store.publish(provenance(), metrics_table())
    newer = dataclasses.replace(schema_of("metrics"), version=99)
    monkeypatch.setitem(SCHEMAS, "metrics", newer)
    assert artifact.manifest.recomputed_key == artifact.manifest.key
    with pytest.raises(ValueError, match="has version 1 of its schema, now it is 99; run"):
        artifact.read()


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("metrics", "not an artifact ref"),
        ("metricz/demo", "unknown artifact kind 'metricz'"),
        ("metrics/none", "no artifact metrics/none in store .*: none; `actionlore train` makes it"),
    ],
)
def test_wrong_refs_are_one_clear_line(tmp_path, ref, message):
    with pytest.raises(ValueError, match=message):
        Store(tmp_path).get(ref)


def test_refs_round_trip():
    ref = ArtifactRef.parse("metrics/demo@0123456789abcdef")
    assert str(ref) == "metrics/demo@0123456789abcdef"
    with pytest.raises(ValueError, match="not an artifact ref"):
        Provenance(kind="metrics", name="../etc", config={})


def test_tensor_columns_keep_values_nulls_and_slices():
    rows = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float16)
    valid = np.array([True, True, False, True, True])
    table = append_tensor(pa.table({"i": range(5)}), "embedding", rows, valid)
    expected = np.where(valid[:, None, None], rows, 0)
    np.testing.assert_array_equal(read_tensor(table, "embedding"), expected)
    np.testing.assert_array_equal(read_tensor(table.slice(2, 2), "embedding"), expected[2:4])
    with pytest.raises(ValueError, match="row 1: holds a value that is not finite"):
        append_tensor(table, "x", np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="not a tensor column"):
        read_tensor(table, "i")


READER = """
import os, sys
from artifacts.store import Store
artifact = Store(sys.argv[1]).get("metrics/demo")
before = len(os.listdir("/proc/self/task"))
artifact.read()
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_reading_a_small_artifact_starts_none_of_arrows_threads_but_that_of_its_input(tmp_path):
    """A process that ends while they start is aborted."""
    Store(tmp_path).publish(provenance(), metrics_table())
    done = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert int(done.stdout) <= 1
