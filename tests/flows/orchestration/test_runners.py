"""Shards on clusters and in processes of one's own give the bytes of one process."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from artifacts.provenance import Provenance
from artifacts.store import Store
from tests.video_files import write_video

NUM_VIDEOS = 32
"""Four parts of frame embeddings."""

KINDS = ("text_embeddings", "frame_embeddings", "negatives")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    for i in range(NUM_VIDEOS):
        write_video(root / "train" / ("walk", "run", "sit")[i % 3] / f"{i}.mp4", 4 + i % 5)
    return root


def mined(store, root, **runner):
    """Reports of `mine` with the bundled model, which workers need not be told of."""
    from flows.mine_negatives import mine
    from flows.orchestration.specs.mine import MineSpec
    from flows.register_dataset import register
    from knowledge.datasets.spec import DatasetSpec

    register(str(store), DatasetSpec(dataset="folder", videos=root, name="tiny"))
    values = {
        "dataset": "tiny",
        "videos": root,
        "clip": {"arch": "stickworld-clip", "weights": "bundled"},
        "frames": {"num_frames": 2},
        "mining": {"top_k": 2},
        "runner": runner,
    }
    return mine(str(store), MineSpec.model_validate(values))


def hashes(store):
    return [Store(store).get(f"{kind}/tiny").manifest.content_hash for kind in KINDS]


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """Everything made in this process."""
    store = tmp_path_factory.mktemp("whole")
    *_, frames, negatives = mined(store, root)
    assert frames.work == {"videos_decoded": NUM_VIDEOS, "frames_encoded": 2 * NUM_VIDEOS}
    assert negatives.work == {"videos_mined": NUM_VIDEOS}
    return hashes(store)


class Killer(threading.Thread):
    """Kills one worker of a cluster when the first part is there."""

    def __init__(self, store, is_worker):
        super().__init__(daemon=True)
        self.store, self.is_worker = store, is_worker
        self.finished, self.killed = {}, None

    def run(self):
        import psutil

        while not (found := list(self.store.glob(".drafts/frame_embeddings-*/part-*.parquet"))):
            time.sleep(0.01)
        self.finished = {path.name: path.stat().st_ino for path in found}
        while self.killed is None:
            for process in psutil.Process().children(recursive=True):
                try:
                    if self.is_worker(process):
                        process.kill()
                        self.killed = process.pid
                        return
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.01)


def is_dask_worker(process):
    return any("spawn_main" in word for word in process.cmdline())


def is_ray_worker(process):
    return " ".join(process.cmdline()).startswith("ray::embed_frames")


def equal_despite_a_killed_worker(name, is_worker, root, whole, store):
    killer = Killer(store, is_worker)
    killer.start()
    *_, frames, _ = mined(store, root, runner=name, num_workers=2, parts_per_shard=1)
    assert killer.killed is not None
    assert hashes(store) == whole
    assert frames.work["videos_decoded"] <= NUM_VIDEOS  # what died did not report
    directory = Path(Store(store).directory(Store(store).get(frames.ref).ref))
    for part, inode in killer.finished.items():
        assert (directory / part).stat().st_ino == inode


@pytest.mark.filterwarnings("default")
def test_a_dask_cluster_of_ones_own_is_used(root, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        mined(tmp_path, root, runner="dask", address=cluster.scheduler_address)
    assert hashes(tmp_path) == whole


@pytest.mark.torture
@pytest.mark.filterwarnings("default")
def test_dask_gives_the_same_bytes_when_a_worker_is_killed(root, whole, tmp_path):
    pytest.importorskip("distributed")
    equal_despite_a_killed_worker("dask", is_dask_worker, root, whole, tmp_path)


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_bytes_when_a_worker_is_killed(root, whole, tmp_path):
    pytest.importorskip("ray")
    equal_despite_a_killed_worker("ray", is_ray_worker, root, whole, tmp_path)


def test_shards_one_after_the_other_give_the_same_bytes(root, whole, tmp_path):
    made = [
        [each.kind for each in mined(tmp_path, root, shard=shard) if each.made]
        for shard in ((1, 2), (2, 2), (1, 2))
    ]
    assert made == [["text_embeddings"], ["frame_embeddings"], ["negatives"]]
    assert hashes(tmp_path) == whole


@pytest.mark.torture
def test_shards_in_processes_of_ones_own_give_the_same_bytes(actionlore, root, whole, tmp_path):
    given = ("--dataset", "folder", "--videos", root, "--name", "tiny")
    assert actionlore("register", *given).exit_code == 0
    options = "--dataset tiny --frames 2 --top-k 2 --clip stickworld-clip --clip-weights bundled"
    command = [sys.executable, "-m", "flows.cli", "mine", *options.split(), "--videos", str(root)]
    paths = {"PYTHONPATH": str(Path(__file__).parents[3])}

    def run(*shards):
        started = [
            subprocess.Popen(
                [*command, "--shard", shard],
                env=os.environ | paths,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for shard in shards
        ]
        printed = [each.communicate() for each in started]
        texts = [" ".join(out.split()) for out, _ in printed]
        for each, text in zip(started, texts, strict=True):  # 75: again, when the others are done
            waits = "run the other shards" in text or "another process is making" in text
            assert each.returncode == (75 if waits else 0), printed
        return texts

    printed = run("1/2", "2/2")
    decoded = sum(int(re.search(r"(\d+) videos decoded", each)[1]) for each in printed)
    if not Store(tmp_path / "store").published("negatives"):
        assert any("run the other shards, then this one again" in each for each in printed)
        printed = run("1/2")  # has the only part of negatives
        decoded += int(re.search(r"(\d+) videos decoded", printed[0])[1])
    assert decoded <= NUM_VIDEOS
    assert hashes(tmp_path / "store") == whole


def test_a_shard_goes_on_while_another_makes_the_texts(root, whole, tmp_path, capsys):
    mined(tmp_path / "other", root)
    made = Store(tmp_path / "other").get("text_embeddings/tiny").manifest
    key = Provenance(**{name: getattr(made, name) for name in Provenance.model_fields})
    held = Store(tmp_path / "store").draft(key)
    reports = mined(tmp_path / "store", root, shard=(1, 1))
    assert [each.kind for each in reports] == ["frame_embeddings"]
    assert "another process is making text_embeddings/tiny@" in capsys.readouterr().out
    held.close()
    reports = mined(tmp_path / "store", root, shard=(1, 1))
    assert [each.made for each in reports] == [True, False, True]
    assert hashes(tmp_path / "store") == whole


def test_shards_of_a_job():
    from flows.orchestration.runners import listed
    from flows.orchestration.specs.runner import RunnerSpec

    assert RunnerSpec().shards(7) == [[0, 1, 2, 3, 4, 5, 6]]
    assert RunnerSpec(runner="dask").shards(7) == [[0, 1, 2, 3], [4, 5, 6]]
    assert max(map(len, RunnerSpec(runner="ray").shards(4321))) == 9
    many = RunnerSpec(runner="ray").shards(4321)
    assert [number for shard in many for number in shard] == list(range(4321))
    thirds = [RunnerSpec(shard=(i, 3)).shards(7)[0] for i in (1, 2, 3)]
    assert thirds == [[0, 3, 6], [1, 4], [2, 5]]
    assert RunnerSpec(shard=(3, 3)).shards(2) == [[]]
    assert listed([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"address": "tcp://a:1"}, "no effect without runner dask or ray"),
        ({"num_workers": 2}, "no effect without runner dask or ray"),
        ({"runner": "dask", "address": "tcp://a:1", "num_workers": 2}, "has its own workers"),
        ({"runner": "dask", "shard": (1, 2)}, "a single shard runs here"),
        ({"shard": (3, 2)}, "shard 3/2: write i/n"),
        ({"shard": (0, 2)}, "shard 0/2: write i/n"),
        ({"runner": "spark"}, "runner"),
    ],
)
def test_settings_without_effect_are_refused(values, message):
    from flows.orchestration.specs.runner import RunnerSpec

    with pytest.raises(ValidationError, match=message):
        RunnerSpec(**values)


def test_a_store_that_workers_cannot_share_is_refused():
    from flows.orchestration.specs.runner import RunnerSpec

    with pytest.raises(ValueError, match="shards meet in its drafts, which need a directory"):
        RunnerSpec(shard=(1, 2)).shared_store("memory://store")
    assert RunnerSpec().shared_store("memory://store") == "memory://store"


def test_options_that_cannot_be_read(actionlore):
    given = ("mine", "--dataset", "t", "--videos", "v", "--clip", "c", "--clip-weights", "w")
    for options, words in {
        ("--shard", "2"): "--shard '2': write i/n",
        ("--ivf", "100"): "--ivf '100': write NUM_LISTS:NUM_PROBES",
        ("--ivf", "4:8"): "num_probes=8 exceeds num_lists=4",
        ("--runner", "spark"): "--runner 'spark': ",
        ("--num-workers", 2): "no effect without runner dask or ray",
    }.items():
        done = actionlore(*given, *options)
        assert (done.exit_code, words in done.stderr) == (1, True), done.stderr
