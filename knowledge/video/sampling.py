"""Which frames of a video a clip takes.

Legend: n frames of a video, T of a clip, C clips of a test video.
"""

from __future__ import annotations

import itertools

import numpy as np


def segment_centres(n: int, T: int) -> list[int]:
    """Centre of each of T equal segments: int(n / T * (i + 1/2)).

    Source: ActionCLIP, X-CLIP and MSQNet test sampling. Short videos repeat frames.
    """
    return fixed_frames(n, T, "center")[0]


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
