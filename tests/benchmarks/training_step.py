"""CPU time of a training step from video files, and of reading alone: ours against a plain loop.

Run from the repository root: `python tests/benchmarks/training_step.py [videos T]`.

The step trains MGDM with the whole image tower of a ViT-B/32 (random weights, float32). The plain
loop decodes every frame with PyAV, transforms pictures one by one with open_clip's PIL transform,
and trains the same tower on the mean of a clip's frames with cross entropy; the limit is that
training on pictures which are ready. CPU seconds are those of this process: what decoding processes
take is not seen from here.

Measured with one thread on an otherwise idle 2-core machine (no GPU), 4 videos and T=4, CPU ms per
clip. Reading: plain 217, ours in threads 35, in processes 3 (of the process that trains). A whole
step: plain 1,367 (2,711 of wall time, as it reads and trains in turns), ours 1,119 (1,235), limit
1,078: the tower is nearly all of it.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import open_clip
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2]))

from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip
from tests.training.runs import start
from tests.training.world import World
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import make_batch
from training.data.clips import VideoClips
from training.data.order import EpochSeed
from training.loop.epochs import train_step
from training.models.mgdm.config import MgdmConfig

ARCH = "ViT-B-32-quickgelu"
SECONDS, RATE, HEIGHT, WIDTH = 10, 25, 240, 320


def write_video(path: Path, seed: int) -> None:
    """Ten seconds of a moving pattern with noise, h264, key frames 10 s apart."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.kron(rng.integers(0, 255, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"g": "250"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for t in range(SECONDS * RATE):
            noise = rng.integers(0, 12, (HEIGHT, WIDTH, 1), np.uint8)
            frame = np.clip(np.roll(picture, 2 * t, axis=1).astype(int) + noise, 0, 255)
            shown = av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")
            container.mux(stream.encode(shown))
        container.mux(stream.encode(None))


def plain_clip(path: Path, T: int, transform) -> torch.Tensor:
    """Every frame decoded, then T of them transformed one by one: (T, 3, S, S) float32."""
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return torch.stack([transform(frames[int(len(frames) / T * (i + 0.5))]) for i in range(T)])


def timed(action, rounds: int = 3) -> tuple[float, float]:
    """Least CPU seconds and wall seconds of some rounds."""
    cpu, wall = [], []
    for _ in range(rounds):
        before, started = time.process_time(), time.perf_counter()
        action()
        cpu.append(time.process_time() - before)
        wall.append(time.perf_counter() - started)
    return min(cpu), statistics.median(wall)


def show(what: str, found: tuple[float, float], count: int, against: float) -> None:
    """One line."""
    print(f"{what:34} {1e3 * found[0] / count:9.1f} {1e3 * found[1] / count:9.1f} "
          f"{found[0] / against:7.2f}")  # fmt: skip


def main() -> None:
    """Print the tables."""
    count, T = (int(each) for each in sys.argv[1:] or ("4", "4"))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        spec = ClipSpec(
            arch=ARCH, weights=str(save_random_clip(root / "clip.safetensors", arch=ARCH))
        )
        clip = load_clip(spec)
        world = World(root / "store", 4, 512, T, clip.identity, splits={"train": count // 4})
        for i, video_id in enumerate(world.labels):
            write_video(root / f"{video_id}.mp4", i)
        settings = (
            *("data.features=videos", f"data.num_frames={T}", "data.augmentation=rrc_gray"),
            *("vision.trainable=all", "model.negatives.k=1", f"optim.batch_size={count}"),
            "eval.every=0",
        )
        config = override(RunConfig(model=MgdmConfig()), settings)
        run = start(world.inputs(clip=spec, root=root), config)
        order = [np.arange(count)]
        paths = [root / path for path in run.data.videos.paths]
        transform = open_clip.image_transform(224, is_train=False)

        def read(workers: int) -> torch.Tensor:
            source = VideoClips(root, config, clip.image_size, workers)
            [(_, clips)] = source.stream(run.data.videos, order, EpochSeed(0, 1))
            return clips

        plain = timed(lambda: [plain_clip(path, T, transform) for path in paths])
        print(f"{count} videos of {SECONDS} s, {WIDTH}x{HEIGHT}, {T} frames each")
        print(f"{'ms per clip':34} {'CPU':>9} {'wall':>9} {'of plain':>7}")
        show("reading, plain", plain, count, plain[0])
        for name, workers in (("threads", 0), ("2 processes, CPU here", 2)):
            read(workers)
            show(f"reading, {name}", timed(lambda w=workers: read(w)), count, plain[0])

        visual = open_clip.create_model(ARCH).visual
        texts = torch.randn(4, 512)
        optimizer = torch.optim.AdamW(visual.parameters(), 1e-5)
        labels = run.data.videos.class_ids_N

        def plain_step(pictures: torch.Tensor) -> None:
            videos = visual(pictures.flatten(0, 1)).view(count, T, -1).mean(dim=1)
            loss = F.cross_entropy(100 * F.normalize(videos, dim=-1) @ texts.T, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        def our_step() -> None:
            clips = read(0)
            draw = EpochSeed(0, 1)
            train_step(run, make_batch(run.data.videos, order[0], clips, run.data.joined, draw))

        ready = torch.stack([plain_clip(path, T, transform) for path in paths])
        limit = timed(lambda: plain_step(ready))
        whole = timed(
            lambda: plain_step(torch.stack([plain_clip(path, T, transform) for path in paths]))
        )
        ours = timed(our_step)
        print(f"{'whole step, ms per clip':34} {'CPU':>9} {'wall':>9} {'of plain':>7}")
        show("plain loop", whole, count, whole[0])
        show("ours", ours, count, whole[0])
        show("limit: tower on ready pictures", limit, count, whole[0])


if __name__ == "__main__":
    main()
