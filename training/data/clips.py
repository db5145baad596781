"""From video files to the clips a model sees: sampling, decoding, augmentation, in other processes.

Every random draw depends on (seed, epoch, video_id) only, so neither the order of clips, nor the
number of workers, nor a resumed run changes one.

Legend: B videos, V views of a video, T frames, S pixels of the square crop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from knowledge.video.decoding import VideoError
from knowledge.video.fingerprint import file_fingerprint
from knowledge.video.frames import read_frames
from knowledge.video.sampling import fixed_frames, random_frames
from knowledge.video.workers import VideoWorkers, Waiting
from training.config.data import DataConfig
from training.config.run import RunConfig
from training.data.augmentation import augment, crops
from training.data.order import EpochSeed, Ints
from training.data.video_set import VideoSet, check_share

Clip = npt.NDArray[np.uint8]
ClipWorkers = VideoWorkers[Clip]


class VideoClips:
    """Clips decoded from videos by workers, one batch ahead of the model.

    At most two batches of clips are held. A video that cannot be read is left out of its batch and
    noted with its reason, never replaced; so is one at which the process that decodes it dies or
    exceeds the deadline.
    """

    def __init__(self, root: Path, config: RunConfig, size: int, workers: int = 0) -> None:
        """Prepare reading.

        Args:
            root: directory the videos' paths are relative to.
            config: of the run.
            size: side S of the crop, the image tower's.
            workers: processes that decode; 0: threads of this one.

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
        self.root, self.config, self.size, self.workers = root, config, size, workers
        self.unreadable: dict[str, str] = {}
        """Reason by video id."""
        self.num_decoded = 0

    def stream(
        self, videos: VideoSet, order: Iterable[Ints], draw: EpochSeed | None
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        """Index (B,) of the readable videos and their clips, batch by batch.

        Yields:
            uint8 clips (B, T, 3, S, S); (B, V, T, 3, S, S) for test where `eval.views` asks for
            several. The same whatever the number of workers.

        Raises:
            ValueError: more videos are unusable than the config allows, or a file is another than
                was registered.
        """
        with VideoWorkers(self.workers, read_registered, preload=__name__) as workers:
            ahead: deque[tuple[Ints, list[Waiting[Clip]]]] = deque()
            for index_B in order:
                ahead.append((index_B, [self._start(workers, videos, i, draw) for i in index_B]))
                if len(ahead) > 1:
                    yield from self._collect(workers, videos, *ahead.popleft())
            while ahead:
                yield from self._collect(workers, videos, *ahead.popleft())

    def _start(
        self, workers: ClipWorkers, videos: VideoSet, i: np.int64, draw: EpochSeed | None
    ) -> Waiting[Clip]:
        video_id = videos.video_ids[i]
        path, views = self.root / videos.paths[i], self.config.eval.num_views
        fingerprint = videos.fingerprints[i] if videos.fingerprints else None
        given = (video_id, self.config.data, self.size, draw, views)
        return workers.start(path, fingerprint, *given, known=self.unreadable.get(video_id))

    def _collect(
        self, workers: ClipWorkers, videos: VideoSet, index_B: Ints, waiting: list[Waiting[Clip]]
    ) -> Iterator[tuple[Ints, torch.Tensor]]:
        kept: list[int] = []
        clips: list[Clip] = []
        for i, each in zip(index_B.tolist(), waiting, strict=True):
            try:
                clips.append(workers.result(each))
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
            yield np.array(kept), torch.from_numpy(np.stack(clips))


def read_registered(path: Path, fingerprint: str | None, *given: Any) -> Clip:
    """What `read_clip` gives, of the file that was registered: runs are known by its fingerprint.

    Args:
        path: the video.
        fingerprint: of the registered file; None: not known.
        given: further arguments of `read_clip`.

    Raises:
        VideoError: the video cannot be used.
        ValueError: it is another file.
    """
    if fingerprint is not None and file_fingerprint(path) not in (None, fingerprint):
        raise ValueError(
            f"video {path} differs from what was registered; give the directory it was registered "
            "from with --videos, or register the videos again"
        )
    return read_clip(path, *given)


def read_clip(
    path: Path,
    video_id: str,
    data: DataConfig,
    size: int,
    draw: EpochSeed | None,
    views: tuple[int, int] = (1, 1),
) -> Clip:
    """Decode and crop one clip, or all views of a test video.

    Args:
        path: the video.
        video_id: for the random draws.
        data: frames, sampling, augmentation.
        size: side S of the crop, the image tower's.
        draw: for training: a random frame of each segment, and augmentation; None for test: the
            frames of `data.test_offset`, centre crop.
        views: clips in time and crops in space of a test video.

    Returns:
        (T, 3, S, S) uint8; of more than one view (V, T, 3, S, S), the crops of a clip together.

    Raises:
        VideoError: the video cannot be used.
    """
    num_clips, num_crops = views if draw is None else (1, 1)
    T = data.num_frames

    def positions(num_frames: int) -> list[int]:
        if draw is not None and data.augmentation != "msq":
            return random_frames(num_frames, T, draw.generator(video_id))
        clips = fixed_frames(num_frames, T, data.test_offset, num_clips)
        return [index for clip in clips for index in clip]

    images = read_frames(path, positions).images
    if draw is not None and data.augmentation != "none":
        generator = draw.generator(f"{video_id}/augmentation")
        clip: Clip = augment(images, data, size, generator).numpy()
        return clip
    views_RT3SS = crops(images, size, data.short_side, num_crops)
    if num_clips == num_crops == 1:
        single: Clip = views_RT3SS[0].numpy()
        return single
    shape = (num_crops, num_clips, T, 3, size, size)
    several: Clip = views_RT3SS.view(shape).transpose(0, 1).flatten(0, 1).numpy()
    return several
