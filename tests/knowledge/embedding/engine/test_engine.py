"""Workers that hang, crash or are killed cost what they were doing and nothing else."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import open_clip
import pytest
from safetensors.torch import save_file

from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.engine.client import close_idle
from knowledge.embedding.engine.part import CANARY
from knowledge.embedding.frames import FrameJob
from tests.clip_families import save_family
from tests.clip_weights import save_random_clip
from tests.jobs import frame_embeddings
from tests.video_files import write_video
from tests.video_rows import listed

CONFIG = FrameConfig(num_frames=4)
GOOD = [f"{i}.mp4" for i in range(10)]


def settings(**others):
    return EncodingOptions(**{"precision": "fp32", "num_workers": 1} | others)


@pytest.fixture(scope="module", autouse=True)
def no_other_engines():
    """Those that earlier tests left idle have workers, too, which are not the ones to kill."""
    close_idle()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten sound videos, which make two parts."""
    root = tmp_path_factory.mktemp("videos")
    for i, name in enumerate(GOOD):
        write_video(root / name, 6 + i)
    return root


@pytest.fixture(scope="module")
def undisturbed(videos, clip, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    rows = listed(store, videos, GOOD)
    return frame_embeddings(store, clip, rows, videos, CONFIG, encoding=settings()).artifact


@pytest.fixture
def with_pipe(videos, tmp_path):
    """The videos and one more, in the middle of the first part, whose file blocks who opens it."""
    root = tmp_path / "videos"
    root.mkdir()
    for name in GOOD:
        (root / name).hardlink_to(videos / name)
    os.mkfifo(root / "4a.mp4")
    store = Store(tmp_path / "store")
    return store, root, listed(store, root, sorted([*GOOD, "4a.mp4"]), hanging=["4a.mp4"])


def parents():
    """Parent of each process that runs here."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(path.parent.name)] = int(fields[1])
    return found


def workers():
    """Processes that this one's engines have forked."""
    tree = parents()
    return {pid for pid, parent in tree.items() if tree.get(parent) == os.getpid()}


@contextmanager
def killing(pipe, number, times):
    """Kill the worker that opens a pipe, again and again."""
    killed, ends = [], []

    def kill():
        while len(killed) < times:
            try:
                ends.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # nobody reads
                time.sleep(0.01)
                continue
            for pid in workers():
                os.kill(pid, number)
                killed.append(pid)
                while pid in parents():
                    time.sleep(0.01)
        for end in ends:  # the next worker may be reading: not before all are killed
            os.close(end)

    thread = threading.Thread(target=kill)
    thread.start()
    yield killed
    thread.join(timeout=60)
    assert not thread.is_alive()


def check(artifact, undisturbed, reason):
    """Everything but the pipe is as it would be without it."""
    artifact.verify()
    rows = artifact.read().to_pylist()
    [bad] = [row for row in rows if row["video_id"] == "4a.mp4"]
    assert (bad["status"], bad["reason"], bad["embedding"]) == ("unreadable", reason, None)
    others = [row for row in rows if row["video_id"] != "4a.mp4"]
    assert others == undisturbed.read().to_pylist()


def test_a_decoder_that_hangs_is_ended(clip, with_pipe, undisturbed):
    store, root, rows = with_pipe
    made = frame_embeddings(store, clip, rows, root, CONFIG, encoding=settings(deadline_s=2))
    check(made.artifact, undisturbed, "decoding took longer than 2 s")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_decoder_that_crashes_twice_is_given_up(clip, with_pipe, undisturbed, number):
    store, root, rows = with_pipe
    with killing(root / "4a.mp4", number, times=2) as killed:
        made = frame_embeddings(store, clip, rows, root, CONFIG, encoding=settings())
    assert len(set(killed)) == 2
    check(made.artifact, undisturbed, f"the decoder died ({number.name})")


def test_a_worker_killed_once_changes_nothing(videos, clip, undisturbed, tmp_path):
    store = Store(tmp_path)
    killed = []

    def kill(done, total):
        if done >= 2 and not killed:
            for pid in workers():
                with suppress(ProcessLookupError):  # it ended since it was listed
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    rows = listed(store, videos, GOOD)
    made = frame_embeddings(store, clip, rows, videos, CONFIG, kill, settings())
    assert killed
    assert not set(killed) & workers()
    assert made.artifact.manifest.files == undisturbed.manifest.files


def test_workers_that_always_die_end_the_run(videos, clip, tmp_path):
    store = Store(tmp_path)
    rows = listed(store, videos, GOOD)
    job = FrameJob(store, clip, rows, videos, CONFIG, settings())
    draft = store.draft(job.provenance)
    os.mkfifo(draft.directory / CANARY)  # read before the first video
    draft.close()
    with (
        killing(draft.directory / CANARY, signal.SIGKILL, times=3),
        pytest.raises(
            RuntimeError, match=r"workers died 3 times on part 0 \(SIGKILL\); with fewer"
        ),
    ):
        frame_embeddings(store, clip, rows, videos, CONFIG, encoding=settings())
    (draft.directory / CANARY).unlink()
    assert frame_embeddings(store, clip, rows, videos, CONFIG, encoding=settings()).made


def test_a_dead_engine_ends_the_run_and_leaves_no_process(clip, with_pipe):
    store, root, rows = with_pipe  # so that the job cannot be done before the engine is killed
    config = settings(num_workers=2, separate_encoder=True)
    seen = []

    def kill(done, total):
        if not seen:
            seen.append(workers())
            [engine] = {parents()[pid] for pid in seen[0]}
            os.kill(engine, signal.SIGKILL)

    with pytest.raises(RuntimeError, match=r"the encoding process ended with status -9; run again"):
        frame_embeddings(store, clip, rows, root, CONFIG, kill, config)
    while seen[0] & parents().keys():
        time.sleep(0.01)


def test_a_dead_encoder_ends_the_run(videos, clip, tmp_path):
    store = Store(tmp_path)
    rows = listed(store, videos, GOOD)
    config = settings(separate_encoder=True)
    frame_embeddings(store, clip, rows, videos, CONFIG, encoding=config)
    names = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in workers()}
    assert set(names) == {"clip-encoder", "video-worker"}
    os.kill(names["clip-encoder"], signal.SIGKILL)
    other = FrameConfig(num_frames=3)
    with pytest.raises(RuntimeError, match=r"the encoder died; run again"):
        frame_embeddings(store, clip, rows, videos, other, encoding=config)
    assert frame_embeddings(store, clip, rows, videos, other, encoding=config).made


def test_what_the_model_cannot_be_loaded_from_is_one_line(videos, tmp_path):
    path = save_random_clip(tmp_path / "weights.safetensors", seed=3)
    store = Store(tmp_path / "store")
    rows = listed(store, videos, GOOD)
    clip = LazyClip(ClipSpec(arch="tiny-vit", weights=str(path)))
    assert clip.identity
    save_random_clip(path, seed=4)
    with pytest.raises(ValueError, match=r"weights '.*weights.safetensors' have just changed; run"):
        frame_embeddings(store, clip, rows, videos, CONFIG, encoding=settings())


@pytest.mark.parametrize("separate", [False, True])
def test_a_model_that_fails_is_told_as_what_it_is(videos, tmp_path, separate):
    arch = save_family(tmp_path / "model", "vit")
    described = tmp_path / "model/open_clip_config.json"
    config = json.loads(described.read_text())
    config["model_cfg"]["vision_cfg"] |= {
        "timm_model_name": "vit_tiny_patch16_224",  # which takes no pictures of 32 pixels
        "timm_pool": "token",
        "timm_proj": "linear",
    }
    described.write_text(json.dumps(config))
    model = open_clip.create_model(arch, load_weights=False)
    save_file(model.state_dict(), tmp_path / "model/open_clip_model.safetensors")
    clip = LazyClip(ClipSpec.model_validate({"arch": arch}))
    store = Store(tmp_path / "store")
    rows = listed(store, videos, GOOD)
    with pytest.raises(RuntimeError, match=r"failed: AssertionError: Input height \(32\)") as told:
        frame_embeddings(
            store, clip, rows, videos, CONFIG, encoding=settings(separate_encoder=separate)
        )
    assert "run again" not in str(told.value)


def test_workers_that_would_each_need_the_gpu_are_refused(clip_spec):
    with pytest.raises(ValueError, match="separate_encoder=false needs the CPU, not cuda:0"):
        settings(separate_encoder=False).resolved(LazyClip(clip_spec, "cuda:0"))
