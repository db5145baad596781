"""From a video file to the clip a model sees: sampling, decoding, augmentation.

Every random draw depends on (seed, epoch, video_id) only, so neither the order of clips, nor the
number of workers, nor a resumed run changes one.

Legend: T frames, S pixels of the square crop.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from knowledge.video import (
    VideoError,
    read_frames,
    resize_and_crop,
    segment_centres,
    segment_random,
    segment_starts,
)
from training.batches import Draw, Ints, VideoSet, check_share
from training.config import DataConfig, RunConfig


class VideoClips:
    """Clips decoded from videos in threads, one batch ahead of the model.

    A video that cannot be read is left out of its batch and noted with its reason, never replaced.
    """

    def __init__(self, root: Path, config: RunConfig, size: int) -> None:
        """Prepare reading.

        Args:
            root: directory the videos' paths are relative to.
            config: of the run.
            size: side S of the crop, the image tower's.

        Raises:
            ValueError: no such directory, or pictures smaller than the crop.
        """
        if not root.is_dir():
            raise ValueError(f"{root} is not a directory; give the one the videos were listed from")
        if config.data.short_side < size:
            raise ValueError(
                f"data.short_side={config.data.short_side} is less than the {size} pixels "
                "that CLIP needs"
            )
        self.root, self.config, self.size = root, config, size
        self.unreadable: dict[str, str] = {}
        """Reason by video id."""
        self.num_decoded = 0

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: Draw | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index (B,) of the readable videos and their clips (B, T, 3, S, S) uint8, batch by batch.

        Raises:
            ValueError: more videos are unusable than the config allows.
        """
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            ahead: list[tuple[Ints, list[Future[torch.Tensor]]]] = []
            for index_B in order:
                jobs = [pool.submit(self._read, videos, i, draw) for i in index_B.tolist()]
                ahead.append((index_B, jobs))
                if len(ahead) > 1:
                    yield from self._collect(videos, *ahead.pop(0))
            for index_B, jobs in ahead:
                yield from self._collect(videos, index_B, jobs)

    def _read(self, videos: VideoSet, i: int, draw: Draw | None) -> torch.Tensor:
        path = self.root / videos.paths[i]
        return read_clip(path, videos.video_ids[i], self.config.data, self.size, draw)

    def _collect(
        self, videos: VideoSet, index_B: Ints, jobs: list[Future[torch.Tensor]]
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        kept, clips = [], []
        for i, job in zip(index_B.tolist(), jobs, strict=True):
            try:
                clips.append(job.result())
            except VideoError as error:
                self.unreadable[videos.video_ids[i]] = error.reason
            else:
                kept.append(i)
        self.num_decoded += len(kept)
        unreadable = len(self.unreadable.keys() & set(videos.video_ids))
        check_share(
            videos.skipped.total() + unreadable,
            videos.num_listed,
            self.config,
            f"split {videos.split!r} under {self.root}",
        )
        if kept:
            yield np.array(kept), torch.stack(clips)


def read_clip(
    path: Path, video_id: str, data: DataConfig, size: int, draw: Draw | None
) -> torch.Tensor:
    """Decode and crop one clip.

    Args:
        path: the video.
        video_id: for the random draws.
        data: frames, sampling, augmentation.
        size: side S of the crop, the image tower's.
        draw: for training: a random frame of each segment, and augmentation; None for test: the
            frames of `data.test_offset`, centre crop.

    Returns:
        (T, 3, S, S) uint8.

    Raises:
        VideoError: the video cannot be used.
    """

    def positions(num_frames: int) -> Sequence[int]:
        if draw is not None:
            return segment_random(num_frames, data.num_frames, draw.generator(video_id))
        if data.test_offset == "start":
            return segment_starts(num_frames, data.num_frames)
        return segment_centres(num_frames, data.num_frames)

    images = read_frames(path, positions).images
    if draw is None or data.augmentation == "none":
        return resize_and_crop(images, size, data.short_side)
    generator = draw.generator(f"{video_id}/augmentation")
    images = F.resize(images, [data.short_side], InterpolationMode.BICUBIC, antialias=True)
    return rrc_gray(images, size, data.flip, generator)


def rrc_gray(
    images_T3HW: torch.Tensor, size: int, flip: bool, generator: np.random.Generator
) -> torch.Tensor:
    """Random resized crop, mirror image half of the time, grey a fifth of it; one draw per clip.

    Source: BIKE; "short side 256, random scaling and cropping" in MGDM 3.2.

    Returns:
        (T, 3, size, size) uint8.
    """
    top, left, height, width = random_crop(images_T3HW.shape[-2], images_T3HW.shape[-1], generator)
    mirrored, grey = generator.random() < 0.5, generator.random() < 0.2
    clip: torch.Tensor = F.resized_crop(
        images_T3HW,
        top,
        left,
        height,
        width,
        [size, size],
        InterpolationMode.BICUBIC,
        antialias=True,
    )
    if flip and mirrored:
        clip = F.horizontal_flip(clip)
    if grey:
        clip = F.rgb_to_grayscale(clip, num_output_channels=3)
    return clip


def random_crop(
    height: int,
    width: int,
    generator: np.random.Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a crop with random share of the area and aspect ratio.

    Ten draws; if none fits, the largest central crop within the ratios. Source: Inception, as in
    torchvision's RandomResizedCrop.
    """
    for _ in range(10):
        pixels = height * width * generator.uniform(*area)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_w, crop_h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < crop_w <= width and 0 < crop_h <= height:
            top = int(generator.integers(0, height - crop_h + 1))
            left = int(generator.integers(0, width - crop_w + 1))
            return top, left, crop_h, crop_w
    crop_w = min(width, round(height * ratio[1]))
    crop_h = min(height, round(width / ratio[0]))
    return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w
