"""Frozen CLIP on video files alone: no dataset, no store.

Legend: N videos, K classes, T frames, D embedding.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from artifacts.files import replacing
from knowledge.clip.model import Clip, encode_texts
from knowledge.embedding.config import FrameConfig, Precision
from knowledge.embedding.engine.image_encoder import IMAGES_PER_BATCH, ImageEncoder, Rows
from knowledge.video.decoding import VideoError
from knowledge.video.frames import Frames, read_clip
from knowledge.video.resizing import Resizing
from knowledge.video.sampling import fixed_frames
from knowledge.video.workers import VideoWorkers

LOGIT_SCALE = 100.0
"""Factor on cosines: OpenAI's, as zero-shot is measured everywhere here."""


@dataclass(frozen=True)
class EmbeddedVideo:
    """A video file as frozen CLIP sees it."""

    path: Path
    pts_s: npt.NDArray[np.float64]
    """(T,) presentation time of each frame in seconds."""
    units_TD: Rows
    norms_T: Rows
    """Lengths of the features before normalisation."""


def embed_files(
    clip: Clip,
    paths: Iterable[Path],
    frames: FrameConfig,
    precision: Precision = "fp32",
    device: str = "cpu",
    workers: int = 0,
) -> Iterator[EmbeddedVideo | VideoError]:
    """Decode and embed video files, in their order; the next ones are decoded meanwhile.

    Args:
        clip: the model, on the CPU.
        paths: the files.
        frames: which pixels.
        precision: of the model.
        device: where it runs.
        workers: processes that decode; 0: threads of this one.

    Yields:
        The video; or why it cannot be used.

    Raises:
        ValueError: a short side that the model's pictures cannot have.
    """
    frames.check(clip.image_size, clip.preprocess.resizing)
    encoder = ImageEncoder(clip, precision).moved(device)
    given = (frames, clip.image_size, clip.preprocess.resizing)
    with VideoWorkers(workers, _read, preload=__name__) as pool:
        waiting = (pool.start(path, *given) for path in paths)
        under_way = deque(islice(waiting, 2 * max(workers, 2)))
        while under_way:
            current = under_way.popleft()
            under_way.extend(islice(waiting, 1))
            try:
                seen = pool.result(current)
            except VideoError as error:
                yield error
                continue
            batches = [encoder(each) for each in torch.split(seen.images, IMAGES_PER_BATCH)]
            units, norms = (np.concatenate(each) for each in zip(*batches, strict=True))
            yield EmbeddedVideo(current.path, seen.pts_s, units, norms)


def _read(path: Path, frames: FrameConfig, size: int, resizing: Resizing) -> Frames:
    def positions(num_frames: int) -> list[int]:
        return fixed_frames(num_frames, frames.num_frames, frames.offset)[0]

    return read_clip(path, positions, size, frames.short_side, resizing)


def class_embeddings(clip: Clip, texts: Sequence[Sequence[str]]) -> torch.Tensor:
    """(K, D) unit rows: of each class the mean of its texts' unit embeddings, as CLIP ensembles.

    Raises:
        ValueError: a text is longer than the model's context.
    """
    distinct = list(dict.fromkeys(text for each in texts for text in each))
    row = {text: i for i, text in enumerate(distinct)}
    units_MD, _ = encode_texts(clip, distinct)
    means = [units_MD[[row[text] for text in each]].mean(dim=0) for each in texts]
    return F.normalize(torch.stack(means), dim=-1)


def class_cosines(video: EmbeddedVideo, classes_KD: torch.Tensor) -> torch.Tensor:
    """(K,) cosine similarities of the mean of a video's unit frames with the classes."""
    mean_D = F.normalize(torch.from_numpy(video.units_TD).mean(dim=0), dim=-1)
    return classes_KD @ mean_D


def write_embeddings(
    output: Path, videos: Sequence[EmbeddedVideo], clip: dict[str, str], frames: FrameConfig
) -> None:
    """Write a file that `register-features` reads: `video_id`, `features` (T, D) and `frame_pts`.

    `video_id` is the path as it was given; features are not normalised. What made them is `made_by`
    in a .npz and in the metadata of a .parquet, as JSON.
    """
    made_by = json.dumps({"clip": clip, **frames.model_dump()})
    ids = [video.path.as_posix() for video in videos]
    features = [video.units_TD * video.norms_T[:, None] for video in videos]
    with replacing(output) as temporary, temporary.open("wb") as file:
        if output.suffix == ".npz":
            np.savez(
                file,
                allow_pickle=False,
                video_id=np.array(ids),
                features=np.stack(features),
                frame_pts=np.stack([video.pts_s for video in videos]),
                made_by=np.array(made_by),
            )
            return
        table = pa.table(
            {
                "video_id": ids,
                "frame_pts": [video.pts_s.tolist() for video in videos],
                "features": pa.array(
                    [list(each) for each in features], pa.list_(pa.list_(pa.float32()))
                ),
            }
        )
        pq.write_table(table.replace_schema_metadata({"made_by": made_by}), file)
