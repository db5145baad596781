"""Decoding chosen pictures of a video file, exactly and at the least cost.

All packets are read first, which is cheap, and say which packet holds which picture. Then only what
the wanted pictures need is decoded: from the nearest key frame on, without the pictures that no
other refers to. Where the packets do not tell the order of display, or something unexpected comes
out, the file is decoded from its first frame on, which is the definition of what is right.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from knowledge.video.orientation import upright
from knowledge.video.packets import (
    Order,
    Packet,
    Run,
    display_order,
    frame_clock,
    frame_packets,
    list_packets,
    runs_for,
)


class VideoError(ValueError):
    """A video that cannot be used; `reason` is one line without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Picture:
    """What is known of one wanted picture besides its pixels."""

    pts_s: float
    size: tuple[int, int]
    """(width, height) as shown, in pixels."""


Positions = Callable[[int], Sequence[int]]
"""From the number of frames to the wanted frame indices, in order, repeats allowed."""

Keep = Callable[[npt.NDArray[np.uint8], int], None]
"""Takes an RGB picture (H, W, 3), valid during the call only, and its frame index.

When a file has to be decoded anew, all pictures come again, of positions that may be others.
"""

_SKIPPING = {"h264", "mpeg4", "mpeg2video"}
"""Decoders that leave out pictures nobody refers to when told so, and nothing else."""
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
"""Streams of pictures about a file rather than of it: covers, and previews of its chapters."""
KEPT_BYTES = 64 * 2**20
"""Packets up to this sum stay in memory, those of MPEG-4 three times for a moment; larger files are
read a second time instead."""


def decode(
    path: Path, positions: Positions, keep: Keep, kept_bytes: int = KEPT_BYTES
) -> list[Picture]:
    """Hand over the pictures at `positions`; returns what else is known of them, in that order.

    `positions` is asked again if the file turns out to hold fewer frames than it says.

    Args:
        path: of the file.
        positions: which pictures, of how many.
        keep: takes each.
        kept_bytes: packets up to this sum stay in memory.

    Raises:
        VideoError: the file is missing, empty, damaged or holds no video.
    """
    with opened(path) as (container, stream), reasons(path, "damaged"):
        listing = list_packets(container, stream, kept_bytes)
        count = listing.num_frames
        if not count:
            raise VideoError(path, "the video stream is empty")
        wanted = list(positions(count))
        clock = frame_clock(container, stream, listing)
        order = display_order(container, stream, listing)
        pictures = _Pictures(path, stream, clock, keep)
        if order is not None:
            done = _decode_runs(pictures, order, wanted)
        elif listing.packets is not None:
            count, done = _decode_all(pictures, listing.packets, wanted), True
        else:
            done = False
    if not done:
        pictures, count = _decode_again(path, clock, wanted, keep)
    if count <= max(wanted):
        if not count:
            raise VideoError(path, "no frame can be decoded")
        wanted = list(positions(count))
        pictures, _ = _decode_again(path, clock, wanted, keep)
    return [pictures.found[position] for position in wanted]


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """An open container and its video stream; failures become VideoError."""
    with reasons(path, "not a video file"):
        if not path.exists():
            raise VideoError(path, "no such file")
        if not path.is_file():
            raise VideoError(path, "not a file but a directory or device")
        if not path.stat().st_size:
            raise VideoError(path, "the file is empty")
        container = av.open(str(path.absolute()))  # a relative `a:b.mp4` would be a protocol `a`
    with container:
        stream = _main_stream(path, container)
        if stream.codec_context is None:
            raise VideoError(path, "unknown codec")
        stream.codec_context.thread_count = 1  # callers run several videos at once
        for other in container.streams:
            if other is not stream:
                other.discard = Discard.all
        yield container, stream


def _main_stream(path: Path, container: InputContainer) -> av.VideoStream:
    """The first of the streams that are shown by default, or of all if none is; never a cover."""
    streams = container.streams.video
    if not streams:
        raise VideoError(path, "no video stream")
    moving = [stream for stream in streams if not stream.disposition & _PICTURES]
    if not moving:
        raise VideoError(path, "no video stream but a cover picture")
    return next((each for each in moving if each.disposition & Disposition.default), moving[0])


@contextmanager
def reasons(path: Path, what: str) -> Iterator[None]:
    """Turns what PyAV raises on odd files into a VideoError whose reason holds no path."""
    try:
        yield
    except VideoError:
        raise
    except (av.error.FFmpegError, OSError, ValueError, AttributeError, IndexError) as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        for place in (str(path.absolute()), str(path)):
            text = text.replace(place, path.name)
        line = text.splitlines()[0]
        raise VideoError(path, f"{what} ({line})") from error


class _Pictures:
    """Collects wanted pictures: RGB, upright, with one scaler for all."""

    def __init__(
        self, path: Path, stream: av.VideoStream, clock: list[int] | None, keep: Keep
    ) -> None:
        self.path, self.stream = path, stream
        self.found: dict[int, Picture] = {}
        self._clock, self._keep = clock or [], keep
        self._reformatter = VideoReformatter()

    def take(self, frame: av.VideoFrame, position: int) -> None:
        """Convert one frame and keep what is to be kept."""
        plain = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        pixels = upright(plain.astype(np.uint8, copy=False), frame)
        pts = self._clock[position] if position < len(self._clock) else frame.pts
        time = seconds(pts, self.stream.time_base, self.stream.average_rate, position)
        if time is None:
            raise VideoError(self.path, "no time stamps and no frame rate")
        size = (pixels.shape[1], pixels.shape[0])
        self._keep(pixels, position)
        self.found[position] = Picture(time, size)


@dataclass(frozen=True)
class _Tag:
    """Index of a packet; an object of its own per packet, since PyAV keeps tags by identity."""

    index: int


def _decode_runs(pictures: _Pictures, order: Order, wanted: list[int]) -> bool:
    """Take the wanted pictures from the least that has to be decoded; False if anything is odd."""
    if max(wanted) >= len(order.shown):
        return False
    runs = runs_for(order, wanted)
    try:
        if order.packets is not None:
            return _each_run(pictures, runs, order.packets)
        with opened(pictures.path) as (container, stream):
            return _each_run(pictures, runs, frame_packets(container, stream))
    except av.error.FFmpegError:
        return False


def _each_run(pictures: _Pictures, runs: list[Run], packets: Iterable[Packet]) -> bool:
    rest, at = iter(packets), 0
    for run in runs:
        part = itertools.islice(rest, run.start - at, run.stop - at)
        if not _decode_run(pictures, run, part):
            return False
        at = run.stop
    return True


def _decode_run(pictures: _Pictures, run: Run, packets: Iterable[Packet]) -> bool:
    """Take the wanted pictures of one run; False if any is missing or cannot be trusted."""
    context = pictures.stream.codec_context
    context.copy_opaque = True
    idle: Literal["NONREF", "DEFAULT"] = "NONREF" if can_skip(context) else "DEFAULT"
    context.skip_frame = "DEFAULT"
    missing, skipping = dict(run.positions), False
    for index, packet in itertools.zip_longest(range(run.start, run.stop + 1), packets):
        if packet is not None:
            skip = index not in missing and index != run.start
            if skip != skipping:
                skipping = skip
                context.skip_frame = idle if skip else "DEFAULT"
            packet.opaque = _Tag(index)
        for frame in context.decode(packet):
            if frame.opaque is None or frame.interlaced_frame:
                return False  # a packet may hold half a picture
            index = cast(_Tag, frame.opaque).index
            if index == run.start and not (frame.key_frame and frame.pict_type == PictureType.I):
                return False  # pictures that get better step by step, without a true key frame
            position = missing.pop(index, None)
            if position is None:
                continue
            if frame.is_corrupt:
                return False
            pictures.take(frame, position)
    context.flush_buffers()
    return not missing


def can_skip(context: av.VideoCodecContext) -> bool:
    """Whether the decoder can leave out just those pictures that no other refers to.

    With several temporal layers, HEVC calls pictures unreferenced that higher layers refer to.
    """
    if context.name == "hevc":
        record = context.extradata or b""
        return len(record) > 21 and record[0] == 1 and record[21] >> 3 & 7 == 1
    return context.name in _SKIPPING


def _decode_again(
    path: Path, clock: list[int], wanted: list[int], keep: Keep
) -> tuple[_Pictures, int]:
    with opened(path) as (container, stream), reasons(path, "damaged"):
        pictures = _Pictures(path, stream, clock, keep)
        return pictures, _decode_all(pictures, frame_packets(container, stream), wanted)


def _decode_all(pictures: _Pictures, packets: Iterable[Packet], wanted: list[int]) -> int:
    """Decode from the first packet on; the number of frames seen, at most the last wanted + 1."""
    chosen, last, count = set(wanted), max(wanted), 0
    context = pictures.stream.codec_context
    for packet in itertools.chain(packets, [None]):  # None: what the decoder kept back
        for frame in context.decode(packet):
            if count in chosen:
                pictures.take(frame, count)
            count += 1
            if count > last:
                return count
    return count


def seconds(
    pts: int | None, time_base: Fraction | None, rate: Fraction | None, index: int
) -> float | None:
    """Presentation time of a frame: its time stamp, else its index at the frame rate."""
    if pts is not None and time_base is not None:
        return float(pts * time_base)
    return index / float(rate) if rate else None
