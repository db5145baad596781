"""Video files to mined negatives, end to end: ours against the naive loop, in one run.

Run from the repository root: `python tests/benchmarks/encoding.py [arch width height videos]`.

Decodes T=16 frames of h264 clips of 10 s, encodes them and finds the 10 nearest of 600 texts. The
naive loop decodes with OpenCV (PyAV in one pass where it is not installed), transforms with PIL as
open_clip does, and encodes in fp32, one clip at a time, with as many threads as there are cores.
The limit is the CPU time of our stages alone, one thread on each core, divided by the cores; it and
the naive loop are measured before and after ours. Weights are random. Loading the model is in
neither; the engine's start has a line of its own.

Measured on two otherwise idle cores (AMX, no GPU), one run each:

| | clips | ours | naive | ratio | of the limit |
|---|---|---|---|---|---|
| ViT-B/32, 320x240 | 192 | 6.79 clips/s | 1.23 | 5.5 | 92 % |
| ViT-B/16, 320x240 | 48 | 1.97 clips/s | 0.29 | 6.7 | 107 % |
| ViT-B/32, 1280x720 | 48 | 3.78 clips/s | 0.83 | 4.6 | 98 % |

9.7 to 9.9 of the 10 nearest texts are those of the naive loop in fp32 (random weights). Fewer clips
than a few parts of eight per core leave a core idle at the end; and a run of 96 at 1280x720, on a
machine that stalled (the engine's start took a minute), reached 4.9 times and 66 %.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import open_clip
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from artifacts.store import Store
from artifacts.tensors import read_tensor
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import Clip, load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import EncodingOptions, FrameConfig, resolve_precision
from knowledge.embedding.engine.client import close_idle
from knowledge.embedding.engine.image_encoder import IMAGES_PER_BATCH, ImageEncoder
from knowledge.mining.nearest import top_k
from knowledge.video.frames import read_clip
from knowledge.video.probing import probe
from knowledge.video.sampling import segment_centres
from tests.clip_weights import save_random_clip
from tests.jobs import frame_embeddings
from tests.video_rows import listed

T, SECONDS, FPS, NUM_TEXTS = 16, 10, 30, 600
NUM_CORES = len(os.sched_getaffinity(0))


def write_clips(root: Path, width: int, height: int, count: int) -> list[str]:
    """Moving noise of a few sizes, encoded with x264's defaults, each clip its own."""
    root.mkdir()
    with multiprocessing.get_context("spawn").Pool(NUM_CORES) as pool:
        return pool.starmap(write_clip, [(root, width, height, n) for n in range(count)], 1)


def write_clip(root: Path, width: int, height: int, number: int) -> str:
    """One clip of 10 s; its file's name."""
    generator = np.random.default_rng(number)
    coarse = generator.integers(0, 256, (9, 12, 3), np.uint8)
    scene = np.asarray(Image.fromarray(coarse).resize((width * 2, height * 2), Image.BICUBIC))
    scene = np.clip(scene.astype(int) + generator.normal(0, 6, scene.shape), 0, 255)
    scene = scene.astype(np.uint8)
    step_x, step_y = generator.uniform(0.3, 1, 2) * (width, height) / (SECONDS * FPS)
    name = f"{number}.mp4"
    with av.open(str(root / name), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(SECONDS * FPS):
            x, y = int(i * step_x), int(i * step_y)
            image = np.ascontiguousarray(scene[y : y + height, x : x + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return name


def naive_frames(path: Path) -> list[Image.Image]:
    """Frames at the segment centres from a decoding of the whole clip."""
    try:
        import cv2
    except ImportError:
        wanted = segment_centres(probe(path).num_frames, T)
        with av.open(str(path)) as container:
            frames = enumerate(container.decode(video=0))
            return [frame.to_image() for i, frame in frames if i in wanted]
    capture = cv2.VideoCapture(str(path))
    wanted = set(segment_centres(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), T))
    images = []
    for i in range(max(wanted) + 1):
        capture.grab()
        if i in wanted:
            images.append(Image.fromarray(capture.retrieve()[1][:, :, ::-1]))
    return images


def naive(clip: Clip, root: Path, names: list[str], texts: np.ndarray) -> list[list[int]]:
    """Nearest texts of each clip, one clip after the other; prints nothing."""
    transform = open_clip.image_transform(clip.image_size, is_train=False)
    found = []
    with torch.inference_mode():
        for name in names:
            images = torch.stack([transform(image) for image in naive_frames(root / name)])
            features = torch.nn.functional.normalize(clip.model.encode_image(images), dim=-1)
            video = torch.nn.functional.normalize(features.mean(0), dim=-1).numpy()
            found.append(np.argsort(-(texts @ video), kind="stable")[:10].tolist())
    return found


def nearest(table, texts: np.ndarray) -> list[list[int]]:
    """Nearest texts of each clip from its stored frame embeddings."""
    videos_BD = read_tensor(table, "embedding").astype(np.float32).mean(axis=1)
    videos_BD /= np.linalg.norm(videos_BD, axis=1, keepdims=True)
    return top_k(videos_BD, texts, 10)[0].tolist()


def stages(spec: ClipSpec, root: Path, names: list[str], precision) -> tuple[float, float]:
    """CPU seconds a clip of decoding and of encoding, in one thread."""
    torch.set_num_threads(1)
    encoder = ImageEncoder(load_clip(spec), precision)

    def clip(name):
        return read_clip(root / name, lambda n: segment_centres(n, T), encoder.image_size).images

    some = names[: max(4, min(len(names) // 6, 16))]
    images = torch.cat([clip(name) for name in some])  # also warms up
    encoder(images[:IMAGES_PER_BATCH])
    started = time.process_time()
    for name in some:
        clip(name)
    decoding = (time.process_time() - started) / len(some)
    started = time.process_time()
    for batch in torch.split(images, IMAGES_PER_BATCH):
        encoder(batch)
    encoding = (time.process_time() - started) / len(some)
    torch.set_num_threads(NUM_CORES)
    return decoding, encoding


def stages_on_all_cores(*arguments) -> tuple[float, float]:
    """The same with every core at it, as when ours runs: mean of the processes."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(NUM_CORES) as pool:
        found = pool.starmap(stages, [arguments] * NUM_CORES, chunksize=1)
    decoding, encoding = np.mean(found, axis=0)
    return float(decoding), float(encoding)


def cpu_of_all() -> float:
    """CPU seconds of this process and of those it has waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in both)


def main() -> None:
    """Print the table."""
    arch, *numbers = sys.argv[1:] or ["ViT-B-32"]
    width, height, count = map(int, numbers or (320, 240, 48))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        names = write_clips(root / "videos", width, height, count)
        spec = ClipSpec(arch=arch, weights=str(save_random_clip(root / "clip.safetensors", arch)))
        clip, precision = LazyClip(spec), resolve_precision("auto", spec, "cpu")
        dim = open_clip.get_model_config(arch)["embed_dim"]
        texts = np.random.default_rng(0).standard_normal((NUM_TEXTS, dim), np.float32)
        texts /= np.linalg.norm(texts, axis=1, keepdims=True)
        some, plain = names[: max(6, min(count // 6, 16))], load_clip(spec)

        def measured():
            """Naive seconds and CPU seconds a clip, its results, and the CPU seconds of stages."""
            cpu, started = cpu_of_all(), time.perf_counter()
            found = naive(plain, root / "videos", some, texts)
            seconds = (time.perf_counter() - started) / len(some)
            cpu = (cpu_of_all() - cpu) / len(some)
            stage = stages_on_all_cores(spec, root / "videos", names, precision)
            return seconds, cpu, found, stage

        before = measured()
        store = Store(root / "store")
        first = listed(store, root / "videos", names[:1])
        started = time.perf_counter()
        frame_embeddings(store, clip, first, root / "videos", FrameConfig(num_frames=T))
        start_s = time.perf_counter() - started
        videos = listed(Store(root / "all"), root / "videos", names)
        store = Store(root / "all")
        started = time.perf_counter()
        artifact = frame_embeddings(
            store,
            clip,
            videos,
            root / "videos",
            FrameConfig(num_frames=T),
            encoding=EncodingOptions(),
        ).artifact
        table = artifact.read()
        ours = nearest(table, texts)
        seconds = time.perf_counter() - started
        close_idle()

        after = measured()  # the machine's speed varies: ours is in between
    theirs = before[2]
    naive_seconds, naive_cpu = (float(np.mean([before[i], after[i]])) for i in (0, 1))
    decoding, encoding = np.mean([before[3], after[3]], axis=0)
    limit = NUM_CORES / (decoding + encoding)
    order = {name: i for i, name in enumerate(table["video_id"].to_pylist())}
    pairs = [(ours[order[name]], row) for name, row in zip(some, theirs, strict=True)]
    same = np.mean([one == other for one, other in pairs])
    shared = np.mean([len({*one} & {*other}) for one, other in pairs])
    rate, per_clip = count / seconds, decoding + encoding
    print(f"{arch} {precision}, {width}x{height}, {count} clips, {NUM_CORES} cores")
    print(f"CPU ms a clip: decoding {1e3 * decoding:.0f}, encoding {1e3 * encoding:.0f}")
    print(f"limit {limit:7.2f} clips/s")
    print(f"ours  {rate:7.2f} clips/s, {rate / limit:.0%} of the limit")
    print(
        f"naive {1 / naive_seconds:7.2f} clips/s; ours is {rate * naive_seconds:.1f} times as fast"
    )
    print(f"naive CPU ms a clip {1e3 * naive_cpu:.0f}, {naive_cpu / per_clip:.1f} times ours")
    print(f"top 10: {same:.0%} of the clips the same in the same order, {shared:.1f} of 10 shared")
    print(f"engine start and first clip {start_s:.1f} s")


if __name__ == "__main__":
    main()
