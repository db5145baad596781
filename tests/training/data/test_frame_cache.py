"""Mapped frame embeddings: equal to those in RAM, not copied, repaired, and removed when unused."""

from pathlib import Path

import pytest
import torch

from artifacts.artifact import CorruptArtifactError
from artifacts.provenance import Provenance
from tests.training.runs import config_of, start
from tests.training.world import World
from training.data.frame_cache import cache_directory, frame_arrays
from training.data.sources import CachedClips


def mapped_file(tensor):
    """The file behind a tensor's memory, as the system tells it."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(each, 16) for each in line.split()[0].split("-"))
        if first <= tensor.data_ptr() < last:
            return line.split(maxsplit=5)[5] if len(line.split()) > 5 else ""
    raise AssertionError("memory of nobody")


@pytest.fixture
def frames(tmp_path):
    return World(tmp_path / "store", broken={"train/c0/v0", "test/c5/v4"}).frames


def test_mapped_arrays_are_those_in_ram_and_no_copy(frames):
    in_ram, mapped = frame_arrays(frames), frame_arrays(frames, ram_bytes=0)
    assert in_ram.video_ids == mapped.video_ids
    assert in_ram.statuses == mapped.statuses
    assert in_ram.statuses.count("unreadable") == 2
    for name in ("units_NTD", "norms_NT"):
        one, two = getattr(in_ram, name), getattr(mapped, name)
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
        assert mapped_file(two).startswith(str(cache_directory(frames)))
        assert not mapped_file(one).endswith(".npy")
    ids = ["train/c1/v3", "test/c2/v0"]
    assert torch.equal(CachedClips(frames).fetch(ids), CachedClips(frames, 0).fetch(ids))


def test_several_parts_are_put_together(tmp_path):
    world = World(tmp_path / "store")
    whole = frame_arrays(world.frames)
    made = world.frames.manifest
    origin = Provenance(
        kind=made.kind, name="parts", config={**made.config, "parts": 3}, inputs=made.inputs
    )
    table = world.frames.read()
    draft = world.store.draft(origin)
    for part, at in enumerate(range(0, table.num_rows, 50)):
        draft.write(table.slice(at, 50), part)
    split = draft.publish()
    assert len(split.manifest.files) == 3
    for ram_bytes in (None, 0):
        found = frame_arrays(split, ram_bytes)
        assert found.video_ids == whole.video_ids
        assert torch.equal(found.units_NTD, whole.units_NTD)


def test_it_is_built_once_and_again_when_damaged(frames):
    first = frame_arrays(frames, ram_bytes=0)
    path = cache_directory(frames) / "embedding.npy"
    built = path.stat().st_ino
    assert torch.equal(frame_arrays(frames, ram_bytes=0).units_NTD, first.units_NTD)
    assert path.stat().st_ino == built
    expected = first.units_NTD.clone()
    for damage in ("flip", "cut", "index", "missing"):
        del first
        data = bytearray(path.read_bytes())
        if damage == "flip":
            data[5000] ^= 1
            path.write_bytes(data)
        elif damage == "cut":
            path.write_bytes(data[:-1])
        elif damage == "index":
            (cache_directory(frames) / "index.json").write_text("{")
        else:
            path.unlink()
        first = frame_arrays(frames, ram_bytes=0)
        assert torch.equal(first.units_NTD, expected), damage


def test_a_damaged_artifact_gives_no_cache(frames):
    path = Path(frames.store.directory(frames.ref)) / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match="SHA-256 differs"):
        frame_arrays(frames, ram_bytes=0)
    assert not (cache_directory(frames) / "index.json").exists()


def test_gc_spares_what_is_in_use(frames):
    directory = cache_directory(frames)
    arrays = frame_arrays(frames, ram_bytes=0)
    assert frames.store.gc(0) == []
    assert torch.isfinite(arrays.units_NTD).all()
    del arrays
    assert frames.store.gc(3600) == []
    assert frames.store.gc(0) == [str(directory)]
    assert frame_arrays(frames, ram_bytes=0).video_ids


def test_a_run_reads_the_same_clips(tmp_path, monkeypatch):
    world = World(tmp_path / "store")
    in_ram = start(world.inputs(), config_of())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(1 << 60))  # so many share the memory
    mapped = start(world.inputs(), config_of())
    assert cache_directory(world.frames).exists()
    ids = list(in_ram.data.videos.video_ids)
    assert torch.equal(in_ram.data.cached.fetch(ids), mapped.data.cached.fetch(ids))
