"""Encoding and mining that are killed again and again end as if nothing had happened.

The test starts this file as a process, which forks a child per life, so that a kill costs a fork;
the child's engine is a fork too. It adopts whatever a killed child leaves and waits for its end.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

from artifacts.files import LOCK_FILE
from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.engine import client as engine_client
from knowledge.embedding.engine import engine
from knowledge.embedding.engine.channel import Channel
from knowledge.embedding.engine.image_encoder import ImageEncoder
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import mine
from tests.clip_weights import save_random_clip
from tests.jobs import frame_embeddings
from tests.torture import with_kills
from tests.video_files import write_video

NUM_VIDEOS = 48
LONGEST_LIFE = 0.6
"""Of the time that a job takes when nobody disturbs it."""
ORPHANS_MAY_LIVE_S = 20
PR_SET_CHILD_SUBREAPER = 36
FRAMES = FrameConfig(num_frames=4)
ENCODING = EncodingOptions(precision="fp32", num_workers=2)


def job(root, clip):
    """Both artifacts from a store that holds classes, videos and texts."""
    store = Store(root / "store")
    videos = store.get("videos/tiny")
    directory = root.parent / "videos"
    frames = frame_embeddings(store, clip, videos, directory, FRAMES, encoding=ENCODING).artifact
    texts = store.get("text_embeddings/tiny")
    return frames, mine(store, videos, frames, [texts], MiningConfig(top_k=2)).artifact


class Forked:
    """An engine as a fork of this process, with a model that is loaded."""

    returncode = None

    def __init__(self, end):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.closerange(3, end.fileno())  # as subprocess does
                os.closerange(end.fileno() + 1, 1024)
                engine.run(Channel(end))
            finally:
                os._exit(0)

    def kill(self):
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def poll(self):
        return self.returncode

    def wait(self):
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


def children(pid):
    """Ids of a process's children."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def parts(root):
    """Inode of each part that is complete, in the draft or published."""
    return {
        path.name: path.stat().st_ino
        for path in (root / "store").glob("**/*frame_embeddings*/**/part-*.parquet")
    }


def live(root, clip, life_s, chances):
    """Work in a child; whether it, its engine or a worker of it was killed before it was done."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            job(root, clip)
            status = 0
        except RuntimeError as error:
            status = 2 if "ended with status -9" in str(error) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    end = time.monotonic() + life_s
    victim = None
    while not (finished := os.waitpid(child, os.WNOHANG))[0]:
        if victim is None and time.monotonic() > end:
            engines = children(child)
            workers = [pid for each in engines for pid in children(each)]
            victim = chances.choice([child, *engines[:1], *workers[:1]])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                victim = None
        time.sleep(0.002)
    status = os.waitstatus_to_exitcode(finished[1])
    assert status in {0, 2, -signal.SIGKILL}, status
    wait_for_orphans()
    return victim is not None, status == 0


def wait_for_orphans():
    """Every process that the child has left ends by itself."""
    end = time.monotonic() + ORPHANS_MAY_LIVE_S
    while True:
        try:
            gone, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        assert time.monotonic() < end, "a process outlives its parent"
        time.sleep(0 if gone else 0.002)


def main(root, weights, num_kills):
    """Kill until there were enough kills; every job ends in the end."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    torch.set_num_threads(1)
    chances = random.Random(0)
    clip = LazyClip(ClipSpec(arch="tiny-vit", weights=weights))
    save_random_clip(root / "registers-the-architecture.safetensors")
    encoder = ImageEncoder(load_clip(clip.spec), "fp32")
    assert clip.identity
    engine.load_encoder = lambda spec: encoder
    engine_client._start = Forked
    shutil.copytree(root / "base", root / "0/store")
    started = time.monotonic()
    assert live(root / "0", clip, 600, chances) == (False, True)
    longest_s = LONGEST_LIFE * (time.monotonic() - started)
    kills, number, redone = 0, 1, 0
    while kills < num_kills:
        here = root / str(number)
        shutil.copytree(root / "base", here / "store")
        finished, before = False, {}
        while not finished:
            life_s = chances.uniform(0, longest_s) if kills < num_kills else 600
            killed, finished = live(here, clip, life_s, chances)
            kills += killed
            after = parts(here)
            redone += sum(after.get(name) != inode for name, inode in before.items())
            before = after
        number += 1
    print(json.dumps({"kills": kills, "jobs": number, "redone": redone}))


@with_kills(few=4, many=200)
def test_kills_change_no_byte_and_make_no_part_twice(tmp_path, num_kills):
    for i in range(NUM_VIDEOS):
        name = ("walk", "run", "sit")[i % 3]
        write_video(tmp_path / f"videos/train/{name}/{i}.mp4", 4 + i % 9)
    weights = save_random_clip(tmp_path / "tiny.safetensors")
    clip = LazyClip(ClipSpec(arch="tiny-vit", weights=str(weights)))
    spec = DatasetSpec(dataset="folder", videos=tmp_path / "videos", name="tiny")
    listing, store = read_listing(spec), Store(tmp_path / "base")
    classes = register_classes(store, "tiny", listing.classes).artifact
    register_videos(store, spec, listing, classes)
    text_embeddings(store, clip, classes)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.knowledge.embedding.engine.test_kills",
            tmp_path,
            weights,
            str(num_kills),
        ],
        cwd=Path(__file__).parents[4],
        stdout=subprocess.PIPE,
        check=True,
    )
    result = json.loads(done.stdout)
    print(result)
    assert result["kills"] >= num_kills
    assert result["redone"] == 0
    shutil.copytree(tmp_path / "base", tmp_path / "undisturbed/store")
    undisturbed = job(tmp_path / "undisturbed", clip)
    assert undisturbed[0].manifest.report["videos"] == {"ok": NUM_VIDEOS}
    for number in range(result["jobs"]):
        store = Store(tmp_path / str(number) / "store")
        ours = store.get("frame_embeddings/tiny"), store.get("negatives/tiny")
        for one, other in zip(ours, undisturbed, strict=True):
            one.verify()
            assert (one.manifest.key, one.manifest.files) == (
                other.manifest.key,
                other.manifest.files,
            )
            directory = Path(store.directory(one.ref))
            # A process killed while it published may leave its lock.
            assert {path.name for path in directory.iterdir()} - {LOCK_FILE} == {
                "manifest.json",
                *(entry.name for entry in one.manifest.files),
            }
        assert not list(store.drafts.iterdir())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
