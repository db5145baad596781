"""Chosen frames of a video as tensors: whole, or resized and cropped for a model.

Legend: T frames, H x W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from knowledge.video.decoding import Positions, VideoError, decode
from knowledge.video.resizing import SHORTEST, Resizing


@dataclass(frozen=True)
class Frames:
    """Chosen frames of one video."""

    images: torch.Tensor
    """(T, 3, H, W) uint8 RGB."""
    pts_s: npt.NDArray[np.float64]
    """(T,) presentation time of each frame in seconds."""


def read_frames(path: Path, positions: Positions) -> Frames:
    """Decode the frames at `positions`, counted in display order.

    They are those that decoding the whole main stream gives, turned and mirrored as the file asks.
    Pixels are those that are coded: an aspect ratio of theirs is not applied. Packets can outnumber
    frames (packed or damaged streams); then the positions are taken anew over the frames
    there are. Frames that an edit list cuts off do not exist.

    Raises:
        VideoError: the file is missing, empty, damaged, holds no video, or changes its picture
            size among the wanted frames.
    """
    return _frames(path, positions, lambda pixels_HWC: pixels_HWC)


def read_clip(
    path: Path,
    positions: Positions,
    size: int,
    short_side: int | None = None,
    resizing: Resizing = SHORTEST,
) -> Frames:
    """The same as `read_frames` and then `resize_and_crop`, without ever holding whole frames.

    Returns:
        Frames whose images are (T, 3, size, size).

    Raises:
        VideoError: as `read_frames`.
    """

    def shrink(pixels_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        image = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None]
        clip: npt.NDArray[np.uint8] = resize_and_crop(image, size, short_side, resizing)[0].numpy()
        return clip.transpose(1, 2, 0)

    return _frames(path, positions, shrink)


Change = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]
"""From a whole picture (H, W, 3) to what is kept of it, of the same size for all of a video."""


def _frames(path: Path, positions: Positions, change: Change) -> Frames:
    """One array for the clip, filled picture by picture while each is in the caches."""
    wanted: list[int] = []
    rows: dict[int, int] = {}
    images_THWC = np.empty((0, 0, 0, 3), np.uint8)

    def choose(num_frames: int) -> list[int]:
        nonlocal wanted, rows
        wanted = list(positions(num_frames))
        rows = {position: row for row, position in enumerate(dict.fromkeys(wanted))}
        return wanted

    def keep(pixels_HWC: npt.NDArray[np.uint8], position: int) -> None:
        nonlocal images_THWC
        picture = change(pixels_HWC)
        shape = (len(rows), *picture.shape)
        if images_THWC.shape != shape:  # the first; or sizes differ, which is an error below
            images_THWC = np.empty(shape, np.uint8)
        images_THWC[rows[position]] = picture

    pictures = decode(path, choose, keep)
    sizes = sorted({picture.size for picture in pictures})
    if len(sizes) > 1:
        shown = " and ".join(f"{width}x{height}" for width, height in sizes)
        raise VideoError(path, f"the picture size changes in mid-stream ({shown})")
    if len(rows) < len(wanted):
        images_THWC = images_THWC[[rows[position] for position in wanted]]
    images = torch.from_numpy(images_THWC)
    return Frames(images.permute(0, 3, 1, 2), np.array([picture.pts_s for picture in pictures]))


def resize_and_crop(
    images: torch.Tensor,
    size: int,
    short_side: int | None = None,
    resizing: Resizing = SHORTEST,
) -> torch.Tensor:
    """Make squares of whole pictures, as `resizing` says.

    Args:
        images: (T, 3, H, W) uint8.
        size: side of the square in pixels.
        short_side: of the picture before the centre is cut out, at least `size`; `size` itself when
            None. For `resizing.mode` `shortest` only.
        resizing: antialiased, and cut out of or filled up about the centre.

    Returns:
        (T, 3, size, size) uint8.
    """
    if resizing.mode == "squash":
        return _resized(images, [size, size], resizing)
    if resizing.mode == "shortest":
        resized = _resized(images, [short_side or size], resizing)
        cropped: torch.Tensor = F.center_crop(resized, [size, size])
        return cropped
    ratio = size / max(images.shape[-2:])
    height, width = (max(1, round(side * ratio)) for side in images.shape[-2:])
    top, left = (size - height) // 2, (size - width) // 2
    edges = [left, top, size - width - left, size - height - top]
    filled: torch.Tensor = F.pad(
        _resized(images, [height, width], resizing), edges, fill=resizing.fill_color
    )
    return filled


def _resized(images: torch.Tensor, size: list[int], resizing: Resizing) -> torch.Tensor:
    mode = InterpolationMode(resizing.interpolation)
    resized: torch.Tensor = F.resize(images, size, mode, antialias=True)
    return resized
