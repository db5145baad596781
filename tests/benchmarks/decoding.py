"""CPU time of a clip: 16 segment centres of a 10 s video, exact frames, ours and the peers.

Run from the repository root: `python tests/benchmarks/decoding.py [part of a row's name]`.
Peers are measured if they can be imported: opencv-python-headless, decord, torchcodec.

Measured on two cores, no GPU, in one run of four minutes. The machine's speed varies by a third:
compare within a row only, and not to the last figure. All gave the same frames up to 4 grey levels
on average.

| ms of CPU per clip | ours | PyAV sequential | cv2 | decord | torchcodec |
|---|---|---|---|---|---|
| h264 320x240, GOP 250 | 35 | 59 | 60 | 69 | 49 |
| h264 320x240, GOP 12 | 32 | 71 | 84 | 71 | 42 |
| h264 340x256, GOP 250 | 42 | 52 | 74 | 61 | 53 |
| h264 1280x720, GOP 250 | 248 | 394 | 419 | 432 | 281 |
| h264 1280x720, GOP 12 | 182 | 447 | 529 | 387 | 224 |
| h264 1920x1080, GOP 250 | 536 | 667 | 756 | 775 | 580 |
| mpeg4 320x240 (mp4) | 16 | 39 | 51 | 38 | 13 |
| xvid 320x240 (avi) | 21 | 37 | 42 | 76 | 31 |
| vp9 320x240 | 111 | 117 | 136 | 151 | 135 |

torchcodec ran on the FFmpeg 8 libraries of the PyAV wheel. It is faster by a sixth on mpeg4 in mp4
without B pictures (100 turns: 14.5 against 12.4 ms): both decode the same 104 pictures in 10 ms;
what is left are 300 packets and 104 pictures that PyAV makes Python objects of. On vp9, where all
has to be decoded, ours and torchcodec are equal within the noise (30 turns: 108 against 107 ms).
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "threads;1"
sys.path.insert(0, str(Path(__file__).parents[2]))

import av
import numpy as np
import torch

from knowledge.video.frames import read_clip, read_frames
from knowledge.video.sampling import segment_centres

NUM_FRAMES, FPS, T, ROUNDS = 300, 30, 16, 12
X264 = {"preset": "veryfast", "bf": "3"}
ROWS = {
    "h264 320x240, GOP 250": ("a.mp4", "libx264", (320, 240), {**X264, "g": "250"}),
    "h264 320x240, GOP 12": ("b.mp4", "libx264", (320, 240), {**X264, "g": "12"}),
    "h264 340x256, GOP 250": ("c.mp4", "libx264", (340, 256), {**X264, "g": "250"}),
    "h264 1280x720, GOP 250": ("d.mp4", "libx264", (1280, 720), {**X264, "g": "250"}),
    "h264 1280x720, GOP 12": ("e.mp4", "libx264", (1280, 720), {**X264, "g": "12"}),
    "h264 1920x1080, GOP 250": ("f.mp4", "libx264", (1920, 1080), {**X264, "g": "250"}),
    "mpeg4 320x240 (mp4)": ("g.mp4", "mpeg4", (320, 240), {"g": "12", "b": "800k"}),
    "xvid 320x240 (avi)": ("h.avi", "mpeg4", (320, 240), {"g": "250", "bf": "2", "b": "800k"}),
    "vp9 320x240": (
        "i.webm",
        "libvpx-vp9",
        (320, 240),
        {"g": "128", "deadline": "realtime", "cpu-used": "8", "b": "500k", "threads": "1"},
    ),
}


def scene(index: int, texture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A textured picture under a moving camera, with an object that moves against it and grain."""
    x, y = 40 + int(30 * np.sin(index / 25)) + index // 10, 20 + int(15 * np.cos(index / 40))
    frame = texture[y : y + height, x : x + width].astype(np.int16)
    side = height // 3
    left = int((width - side) * (0.5 + 0.45 * np.sin(index / 12)))
    frame[side : 2 * side, left : left + side] = texture[:side, :side][:, ::-1]
    grain = np.random.default_rng(index).integers(-4, 5, (height, width, 1), np.int16)
    return np.clip(frame + grain, 0, 255).astype(np.uint8)


def write(path: Path, codec: str, size: tuple[int, int], options: dict[str, str]) -> None:
    """A 10 s video."""
    width, height = size
    rng = np.random.default_rng(0)
    octaves = [
        torch.nn.functional.interpolate(
            torch.from_numpy(rng.normal(0, 64 / 2**n, (1, 3, 4 * 2**n, 5 * 2**n))),
            size=(height + 64, width + 140),
            mode="bilinear",
        )[0]
        for n in range(6)
    ]
    texture = (128 + sum(octaves)).clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        if path.suffix == ".avi":
            stream.codec_context.codec_tag = "XVID"
        for index in range(NUM_FRAMES):
            picture = scene(index, texture, width, height)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def centres(count: int) -> list[int]:
    return segment_centres(count, T)


def ours(path: Path) -> np.ndarray:
    return read_frames(path, centres).images.permute(0, 2, 3, 1).numpy()


def sequential(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        wanted, frames = centres(NUM_FRAMES), []
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if index == wanted[-1]:
                break
    return np.stack(frames)


def with_cv2(path: Path) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path))
    wanted, frames = centres(NUM_FRAMES), []
    for index in range(wanted[-1] + 1):
        capture.grab()
        if index in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def with_decord(path: Path) -> np.ndarray:
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(centres(len(reader))).asnumpy()


def with_torchcodec(path: Path) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    return decoder.get_frames_at(centres(len(decoder))).data.numpy()


READERS: dict[str, Callable[[Path], np.ndarray]] = {
    "ours": ours,
    "PyAV sequential": sequential,
    "cv2": with_cv2,
    "decord": with_decord,
    "torchcodec": with_torchcodec,
}


def cpu_ms(read: Callable[[Path], object], path: Path) -> float:
    """CPU time of the whole process for one clip."""
    start = time.process_time()
    read(path)
    return 1e3 * (time.process_time() - start)


def main() -> None:
    """Print the table; each cell is the least of ROUNDS turns in which the readers alternate."""
    torch.set_num_threads(1)
    print(f"{'CPU ms per clip':26}" + "".join(f"{name:>17}" for name in READERS) + "  clip 224")
    for row, (name, codec, size, options) in ROWS.items():
        if any(word not in row for word in sys.argv[1:]):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            write(path, codec, size, options)
            cells = measure(path)
            print(f"{row:26}" + "".join(f"{cell:>17}" for cell in cells[:-1]) + f"{cells[-1]:>10}")
    print("! other frames than those of the full decode")


def measure(path: Path) -> list[str]:
    """One row: every reader of READERS, then ours with the resize."""
    reference = sequential(path)
    assert np.array_equal(ours(path), reference)
    cells, least = dict.fromkeys(READERS, "-"), {}
    for name, read in READERS.items():
        try:
            frames = read(path)
        except (ImportError, RuntimeError) as error:
            print(f"{name} cannot be used: {str(error).splitlines()[0]}")
            continue
        least[name] = float("inf")
        cells[name] = "!" if np.abs(frames.astype(int) - reference).mean() > 4 else " "
    for _ in range(ROUNDS):
        for name in least:
            least[name] = min(least[name], cpu_ms(READERS[name], path))
    for name, time_ms in least.items():
        cells[name] = f"{time_ms:.1f}{cells[name]}"
    clip = min(cpu_ms(lambda path: read_clip(path, centres, 224), path) for _ in range(ROUNDS))
    return [*cells.values(), f"{clip:.1f}"]


if __name__ == "__main__":
    main()
