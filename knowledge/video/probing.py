"""What a video file says about itself; imports no model library, as many processes do this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knowledge.video.decoding import VideoError, opened, reasons
from knowledge.video.packets import list_packets


@dataclass(frozen=True)
class VideoInfo:
    """What the container says, with frames counted rather than believed."""

    num_frames: int
    fps: float | None
    duration_s: float | None
    width: int
    """Pixels as coded, before any rotation that the container asks for."""
    height: int
    codec: str


def probe(path: Path) -> VideoInfo:
    """Container facts and the number of video packets, without decoding.

    Raises:
        VideoError: the file is missing, empty, damaged or holds no video.
    """
    with opened(path) as (container, stream), reasons(path, "damaged container"):
        num_frames = list_packets(container, stream).num_frames
        if not num_frames:
            raise VideoError(path, "the video stream is empty")
        codec = stream.codec_context
        rate = stream.average_rate
        fps = float(rate) if rate else None
        if stream.duration is not None and stream.time_base is not None:
            duration: float | None = float(stream.duration * stream.time_base)
        else:
            duration = num_frames / fps if fps else None
        return VideoInfo(num_frames, fps, duration, codec.width, codec.height, codec.name)
