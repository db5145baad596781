"""Which frames and which part of the picture a clip takes: at random to train, fixed views to test.

A view is a clip in time and a crop in space; the class probabilities of a video's views are
averaged. Peers draw the clips of a multi-view test at random, so that their numbers do not repeat;
here they are the same in every run.

Legend: n frames of a video, T of a clip, C clips and R crops of a test video, S pixels.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from knowledge.video.frames import resize_and_crop


def random_frames(n: int, T: int, generator: np.random.Generator) -> list[int]:
    """One uniformly random frame of each of T segments; sorted.

    A video of at most T frames gives all of them and random duplicates. Source: TSN, ActionCLIP.
    """
    if n <= T:
        return sorted([*range(n), *generator.integers(0, n, T - n).tolist()])
    ticks = [i * n // T for i in range(T + 1)]
    return [int(generator.integers(start, stop)) for start, stop in itertools.pairwise(ticks)]


def fixed_frames(n: int, T: int, offset: str, C: int = 1) -> list[list[int]]:
    """Frames of each of C clips: the clips lie evenly within each of T equal segments.

    Args:
        n: frames of the video; with fewer than T, frames repeat.
        T: frames per clip.
        offset: `center`: clip j takes the point (j + 1/2) / C of every segment, so one clip takes
            the centres; `start`: clips go from the first to the last frame of a segment, so one
            clip takes the starts (BIKE).
        C: clips.

    Returns:
        C lists of T rising frame numbers from 0.
    """
    if offset == "start":
        starts = np.linspace(0, max(n / T - 1, 0), C)
        return [[int(n / T * i + start) for i in range(T)] for start in starts.tolist()]
    return [[int(n / T * (i + (j + 0.5) / C)) for i in range(T)] for j in range(C)]


def crops(images_T3HW: torch.Tensor, size: int, short_side: int, R: int = 1) -> torch.Tensor:
    """R squares of each frame.

    One: the centre, after the short side is brought to `short_side`. Several: the short side is
    brought to `size`, and the squares lie evenly along the long side from one end to the other;
    three are left, middle and right, or top, middle and bottom. Source: X-CLIP.

    Returns:
        (R, T, 3, size, size) uint8.
    """
    if R == 1:
        return resize_and_crop(images_T3HW, size, short_side)[None]
    resized = F.resize(images_T3HW, [size], InterpolationMode.BICUBIC, antialias=True)
    height, width = resized.shape[-2:]
    places = [round(i / (R - 1) * (max(height, width) - size)) for i in range(R)]
    if height > width:
        return torch.stack([resized[..., top : top + size, :] for top in places])
    return torch.stack([resized[..., left : left + size] for left in places])
