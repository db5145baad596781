"""Which packet of a video file holds which picture, told without decoding.

Words: a packet's index counts in the order of the file, a position in the order of display. A group
is a key frame with the packets up to the next one; a leading picture comes after a key frame in the
file and before it on the screen, and may refer to the group before.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer

Packet: TypeAlias = "av.Packet[av.VideoStream]"

_CONTAINERS = ("mov,mp4", "matroska")
"""Formats whose packets are whole pictures with the times at which they are shown."""
_CODECS = {"h264", "hevc", "mpeg4", "mpeg2video", "vp9", "libdav1d", "mjpeg"}
"""Decoders that give one picture per packet of a sound file and can start at any key frame."""
_CHANGES = {"new_extradata", "param_change"}
"""Side data of a packet after which all later ones are decoded in another way."""
_PLACEHOLDER_BYTES = 19
"""MPEG-4 packets up to this size may stand for "as before" and hold no picture."""
_VOP, _I_VOP, _B_VOP = b"\x00\x00\x01\xb6", 0, 2


@dataclass(frozen=True)
class Listing:
    """The packets of one video stream, one entry per packet."""

    pts: list[int | None]
    dts: list[int | None]
    keys: list[int]
    """Indices of the key frames."""
    hidden: set[int]
    """Indices of packets that an edit list hides."""
    changing: bool
    """A packet changes how all later ones are decoded."""
    packets: list[Packet] | None
    """None if they are more than was to be kept."""

    @property
    def num_frames(self) -> int:
        """Packets that are to be shown."""
        return len(self.pts) - len(self.hidden)


@dataclass(frozen=True)
class Order:
    """What the packets say about display, one entry per packet."""

    packets: list[Packet] | None
    """One picture each; None if they were not kept."""
    ranks: list[int]
    """Any numbers that grow with display."""
    keys: list[int]
    """Indices of packets at which decoding can start."""
    shown: list[int]
    """Index of the packet at each position."""


@dataclass(frozen=True)
class Run:
    """Packets to decode one after the other, from a key frame on."""

    start: int
    stop: int
    positions: dict[int, int]
    """Of the wanted packets, by index."""


def frame_packets(container: InputContainer, stream: av.VideoStream) -> Iterator[Packet]:
    """The packets of the stream that hold data, in the order of the file."""
    return (packet for packet in container.demux(stream) if packet.size)


def list_packets(container: InputContainer, stream: av.VideoStream, kept_bytes: int = 0) -> Listing:
    """Read all packets, keeping them if they are at most `kept_bytes` together."""
    return listing_of(frame_packets(container, stream), kept_bytes)


def listing_of(read: Iterable[Packet], kept_bytes: int = 0) -> Listing:
    """What packets say of the pictures, and the packets themselves as in `list_packets`."""
    pts: list[int | None] = []
    dts: list[int | None] = []
    keys: list[int] = []
    hidden: set[int] = set()
    kept: list[Packet] = []
    num_bytes, changing = 0, False
    for index, packet in enumerate(read):
        pts.append(packet.pts)
        dts.append(packet.dts)
        if packet.is_keyframe:
            keys.append(index)
        if packet.is_discard:
            hidden.add(index)
        for side in packet.iter_sidedata():
            changing |= side.data_type in _CHANGES
        num_bytes += packet.size
        if num_bytes <= kept_bytes:
            kept.append(packet)
        else:
            kept.clear()
    packets = kept if num_bytes <= kept_bytes else None
    return Listing(pts, dts, keys, hidden, changing, packets)


def display_order(
    container: InputContainer, stream: av.VideoStream, listing: Listing
) -> Order | None:
    """The order of display, if the packets tell it beyond doubt; else only decoding tells."""
    context, form = stream.codec_context, container.format.name
    packets, keys = listing.packets, listing.keys
    ranks: Sequence[int | None] = listing.pts
    if context.name not in _CODECS or listing.changing:
        return None
    if context.name == "mpeg4":
        vops = picture_types(packets or [])
        if not vops and packets and form == "avi":
            packets = _unpacked(stream, packets)
            vops = picture_types(packets)
        if len(vops) != len(listing.pts):
            return None
        if form == "avi":
            if _B_VOP in vops and not context.has_b_frames:
                return None
            ranks = _ranks(vops)
            keys = [index for index, vop in enumerate(vops) if vop == _I_VOP]
    elif not form.startswith(_CONTAINERS):
        return None
    if form.startswith("matroska") and context.codec_tag.strip("\0"):
        return None  # an AVI stream in disguise, times included
    known = [rank for rank in ranks if rank is not None]
    if len(known) != len(ranks) or not _consistent(known, keys):
        return None
    shown = sorted(set(range(len(known))) - listing.hidden, key=known.__getitem__)
    return Order(packets, known, keys, shown)


def frame_clock(container: InputContainer, stream: av.VideoStream, listing: Listing) -> list[int]:
    """Time of each position in units of the time base, where those of the pictures are wrong.

    AVI knows the time of a packet only; decoders hand it to whatever picture comes in that packet.
    """
    if container.format.name != "avi" or not stream.codec_context.has_b_frames:
        return []
    known = sorted(time for time in listing.dts if time is not None)
    return known if len(known) == len(listing.dts) else []


def runs_for(order: Order, wanted: Sequence[int]) -> list[Run]:
    """The fewest packets to decode for the `wanted` positions, as runs that do not touch."""
    positions = {order.shown[position]: position for position in wanted}
    spans = []
    for index in positions:
        group = bisect.bisect_right(order.keys, index) - 1
        if order.ranks[index] < order.ranks[order.keys[group]]:
            group -= 1  # a leading picture
        spans.append((order.keys[group], index + 1))
    merged: list[list[int]] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
    return [
        Run(start, stop, {i: p for i, p in positions.items() if start <= i < stop})
        for start, stop in merged
    ]


def _consistent(ranks: list[int], keys: list[int]) -> bool:
    """Every group shows after the key frame of the group before, the first key frame first."""
    if not keys or keys[0] or len(set(ranks)) != len(ranks):
        return False
    groups = itertools.pairwise([*keys, len(ranks)])
    before = min(ranks) - 1
    for number, (start, stop) in enumerate(groups):
        lowest = min(ranks[start:stop])
        if lowest <= before or (number == 0 and lowest != ranks[0]):
            return False
        before = ranks[start]
    return True


def _unpacked(stream: av.VideoStream, packets: list[Packet]) -> list[Packet]:
    """Packets of one picture each; encoders for AVI put two into one and none into the next."""
    unpack = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
    copies = (av.Packet(bytes(packet)) for packet in packets)  # the filter keeps what it gets
    unpacked = [one for copy in copies for one in unpack.filter(copy)]
    return unpacked + unpack.filter(None)


def picture_types(packets: list[Packet]) -> list[int]:
    """Picture type of each packet; nothing if one of them does not hold exactly one picture."""
    data = np.frombuffer(b"".join(packets), np.uint8)
    sizes = np.array([packet.size for packet in packets], np.int64)
    last = len(_VOP) - 1
    at = np.flatnonzero(data[last:] == _VOP[last]) + last  # few bytes are; only those are tried
    for back in range(1, len(_VOP)):
        at = at[data[at - back] == _VOP[last - back]]
    stops = np.cumsum(sizes)
    if len(at) != len(packets) or (sizes <= _PLACEHOLDER_BYTES).any():
        return []
    if (at < stops - sizes + last).any() or (at + 1 >= stops).any():
        return []
    types: list[int] = (data[at + 1] >> 6).tolist()
    return types


def _ranks(vops: list[int]) -> list[int]:
    """Position of each MPEG-4 picture: all but B pictures wait until the next of their kind."""
    ranks = [0] * len(vops)
    position, waiting = 0, -1
    for index, vop in enumerate(vops):
        if vop != _B_VOP:
            index, waiting = waiting, index
        if index >= 0:
            ranks[index] = position
            position += 1
    ranks[waiting] = position
    return ranks
