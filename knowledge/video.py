"""Which frames of a video to take, and decoding them exactly.

Legend: T frames, H x W pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
import numpy.typing as npt
import torch
from av.container import InputContainer
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F


class VideoError(ValueError):
    """A video that cannot be used; `reason` is one line without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


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


@dataclass(frozen=True)
class Frames:
    """Chosen frames of one video."""

    images: torch.Tensor
    """(T, 3, H, W) uint8 RGB."""
    pts_s: npt.NDArray[np.float64]
    """(T,) presentation time of each frame in seconds."""


Positions = Callable[[int], Sequence[int]]
"""From the number of frames to the wanted frame indices, in order, repeats allowed."""


def segment_centres(num_frames: int, count: int) -> list[int]:
    """Centre of each of `count` equal segments: int(n / T * (i + 1/2)).

    Source: ActionCLIP, X-CLIP and MSQNet test sampling. Short videos repeat frames.
    """
    return [int(num_frames / count * (i + 0.5)) for i in range(count)]


def segment_starts(num_frames: int, count: int) -> list[int]:
    """Start of each of `count` equal segments: int(n / T * i). Source: BIKE test sampling."""
    return [int(num_frames / count * i) for i in range(count)]


def segment_random(num_frames: int, count: int, generator: np.random.Generator) -> list[int]:
    """One uniformly random frame of each of `count` segments, in order. Source: TSN."""
    ticks = [i * num_frames // count for i in range(count + 1)]
    return [
        int(generator.integers(start, max(stop, start + 1)))
        for start, stop in itertools.pairwise(ticks)
    ]


def probe(path: Path) -> VideoInfo:
    """Container facts and the number of video packets, without decoding.

    Raises:
        VideoError: the file is missing, empty, damaged or holds no video.
    """
    with _opened(path) as (container, stream), _reasons(path, "damaged container"):
        num_frames = sum(not packet.is_discard for packet in _packets(container, stream))
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


def read_frames(path: Path, positions: Positions) -> Frames:
    """Decode the frames at `positions`, counted in display order.

    Decodes in one pass from the first frame to the last wanted one, and turns pictures as the
    container asks for. Packets can outnumber frames (packed or damaged streams); then the positions
    are taken anew over the frames there are. Frames that an edit list cuts off do not exist.

    Raises:
        VideoError: the file is missing, empty, damaged, holds no video, or changes its picture
            size among the wanted frames.
    """
    wanted = list(positions(probe(path).num_frames))
    found, count = _decode(path, set(wanted))
    if count <= max(wanted):
        if not count:
            raise VideoError(path, "no frame can be decoded")
        wanted = list(positions(count))
        found, _ = _decode(path, set(wanted))
    sizes = sorted({(pixels.shape[1], pixels.shape[0]) for pixels, _ in found.values()})
    if len(sizes) > 1:
        shown = " and ".join(f"{width}x{height}" for width, height in sizes)
        raise VideoError(path, f"the picture size changes in mid-stream ({shown})")
    images = torch.from_numpy(np.stack([found[i][0] for i in wanted])).permute(0, 3, 1, 2)
    return Frames(images, np.array([found[i][1] for i in wanted]))


def resize_and_crop(images: torch.Tensor, size: int, short_side: int | None = None) -> torch.Tensor:
    """Bring the short side to `short_side` (bicubic, antialiased) and cut out the centre square.

    Args:
        images: (T, 3, H, W) uint8.
        size: side of the square in pixels.
        short_side: at least `size`; `size` itself when None.

    Returns:
        (T, 3, size, size) uint8.
    """
    target = short_side or size
    resized = F.resize(images, [target], InterpolationMode.BICUBIC, antialias=True)
    cropped: torch.Tensor = F.center_crop(resized, [size, size])
    return cropped


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """An open container and its video stream; failures become VideoError."""
    with _reasons(path, "not a video file"):
        if not path.is_file():
            raise VideoError(path, "no such file")
        if not path.stat().st_size:
            raise VideoError(path, "the file is empty")
        container = av.open(str(path))
    with container:
        if not container.streams.video:
            raise VideoError(path, "no video stream")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise VideoError(path, "unknown codec")
        stream.codec_context.thread_count = 1  # callers run several videos at once
        yield container, stream


@contextmanager
def _reasons(path: Path, what: str) -> Iterator[None]:
    """Turns what PyAV raises on odd files into a VideoError whose reason holds no path."""
    try:
        yield
    except VideoError:
        raise
    except (av.error.FFmpegError, OSError, ValueError, AttributeError, IndexError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        line = text.replace(str(path), path.name).splitlines()[0]
        raise VideoError(path, f"{what} ({line})") from error


def _packets(
    container: InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet[av.VideoStream]]:
    return (packet for packet in container.demux(stream) if packet.size)


def _decode(
    path: Path, wanted: set[int]
) -> tuple[dict[int, tuple[npt.NDArray[np.uint8], float]], int]:
    """Wanted frames by index, and the number of frames seen (at most the last wanted + 1)."""
    found: dict[int, tuple[npt.NDArray[np.uint8], float]] = {}
    last, count = max(wanted), 0
    with _opened(path) as (container, stream), _reasons(path, "damaged"):
        for frame in _decoded(container, stream):
            if count in wanted:
                pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                turns = round(frame.rotation / 90)  # counter-clockwise, as in np.rot90
                seconds = _seconds(frame.pts, stream.time_base, stream.average_rate, count)
                if seconds is None:
                    raise VideoError(path, "no time stamps and no frame rate")
                found[count] = (np.rot90(pixels, turns), seconds)
            count += 1
            if count > last:
                break
    return found, count


def _seconds(
    pts: int | None, time_base: Fraction | None, rate: Fraction | None, index: int
) -> float | None:
    """Presentation time of a frame: its time stamp, else its index at the frame rate."""
    if pts is not None and time_base is not None:
        return float(pts * time_base)
    return index / float(rate) if rate else None


def _decoded(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    for packet in _packets(container, stream):
        yield from stream.decode(packet)  # decoders keep back frames of discarded packets
    yield from stream.decode(None)
