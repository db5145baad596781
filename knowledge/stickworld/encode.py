"""From frames to an mp4 file whose bytes depend on the frames alone (for one build of FFmpeg)."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from artifacts.files import replacing

FPS = 8
CRF = 21
"""Constant rate factor of x264: visually close to lossless at this size."""
_OPTIONS = {
    "preset": "veryfast",
    "crf": str(CRF),
    "threads": "1",
    "g": "16",
    "bf": "0",
    "x264-params": "rc-lookahead=0:mbtree=0:weightp=0",
}
"""One thread and no lookahead: x264's lookahead decides about B-frames from half-size pictures, and
at this frame width its choices, and so the bytes, differ from one encoding to the next."""


def encode_mp4(frames: np.ndarray) -> bytes:
    """H.264 in mp4 at 8 frames per second.

    Args:
        frames: uint8 (T, height, width, 3), RGB; height and width even.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS, options=dict(_OPTIONS))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = index
            picture.time_base = Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write `encode_mp4(frames)` so that `path` is either complete or not there."""
    with replacing(path, durable=False) as temporary:
        temporary.write_bytes(encode_mp4(frames))
