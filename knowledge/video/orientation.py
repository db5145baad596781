"""Pictures as players show them: turned and mirrored as their display matrix says.

Legend: H x W pixels, C channels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import cast

import numpy as np
import numpy.typing as npt
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


def upright(pixels_HWC: npt.NDArray[np.uint8], frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """The pixels of a frame as they are to be shown.

    A display matrix maps the point (x, y) of the picture to (a x + c y, b x + d y) of the screen.
    Phones write turns by a quarter, front cameras mirrored ones; what is in between is taken for
    the nearest of these eight. Pixels that are not square stay as they are coded.
    """
    try:
        data = cast("Mapping[Type, Buffer]", frame.side_data)
    except ValueError:  # a kind of side data that PyAV has no name for hides all others
        turns = round(frame.rotation / 90) % 4  # counter-clockwise, as in np.rot90
        return np.ascontiguousarray(np.rot90(pixels_HWC, turns))
    if Type.DISPLAYMATRIX not in data:
        return pixels_HWC
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data[Type.DISPLAYMATRIX]))
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    if turned:
        pixels_HWC = pixels_HWC.transpose(1, 0, 2)
    mirrored, upside_down = (c < 0, b < 0) if turned else (a < 0, d < 0)
    if mirrored:
        pixels_HWC = pixels_HWC[:, ::-1]
    if upside_down:
        pixels_HWC = pixels_HWC[::-1]
    return np.ascontiguousarray(pixels_HWC)
