"""Small real video files for tests."""

from pathlib import Path

import av
import numpy as np


def pattern(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that tells its own index: the grey level of each of 8 blocks is one bit."""
    frame = np.full((height, width, 3), 16, np.uint8)
    block = width // 8
    for bit in range(8):
        if index >> bit & 1:
            frame[:, bit * block : (bit + 1) * block] = 235
    return frame


def index_of(image: np.ndarray) -> int:
    """The index that a decoded (3, H, W) frame tells."""
    block = image.shape[2] // 8
    means = [image[:, :, bit * block + 2 : (bit + 1) * block - 2].mean() for bit in range(8)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 125)


def write_video(
    path: Path, num_frames: int = 40, codec: str = "libx264", fps: int = 10, **options: str
) -> Path:
    """Encode `num_frames` patterned frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(pattern(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with an audio stream only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
