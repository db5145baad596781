"""The videos that negatives are mined for: their embeddings, true classes and own cosines.

Legend: N videos, T frames, D embedding, C true classes of a video (-1: none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from artifacts.artifact import Artifact
from artifacts.tensors import read_tensor
from knowledge.mining.corpus import Corpus, Ints, Reals, Vectors
from knowledge.mining.filters import DECIMALS


@dataclass(frozen=True, eq=False)
class MinedVideos:
    """The videos to mine for."""

    video_ids: pa.Array
    embedding_ND: Vectors
    """Unit rows."""
    truth_NC: Ints
    """Positions of the true classes among the dataset's; -1: no further one."""
    own_N: Ints
    """The true class nearest to the video."""
    own_cosine_N: Reals

    def __len__(self) -> int:
        return len(self.video_ids)

    @classmethod
    def joined(cls, parts: Sequence[MinedVideos]) -> MinedVideos:
        """The videos of several parts, in their order."""
        width = max(part.truth_NC.shape[1] for part in parts)
        truth = [
            np.pad(part.truth_NC, ((0, 0), (0, width - part.truth_NC.shape[1])), constant_values=-1)
            for part in parts
        ]
        return cls(
            pa.concat_arrays([part.video_ids for part in parts]),
            np.concatenate([part.embedding_ND for part in parts]),
            np.concatenate(truth),
            np.concatenate([part.own_N for part in parts]),
            np.concatenate([part.own_cosine_N for part in parts]),
        )


def read_mined_videos(
    frames: Artifact, rows: range, labels: Mapping[str, Sequence[int]], corpus: Corpus
) -> MinedVideos:
    """The usable ones among some rows of `frame_embeddings`.

    Args:
        frames: the artifact.
        rows: which of its rows.
        labels: class ids of the wanted videos.
        corpus: texts of these classes.

    Raises:
        ValueError: a video without class, or with one of which there is no text.
    """
    video_ids, z_ND = _embeddings(frames, rows, labels, corpus.own_KD.shape[1])
    positions = corpus.positions
    most = max((len(labels[video_id]) for video_id in video_ids), default=1)
    truth_NC = np.full((len(video_ids), max(most, 1)), -1, np.int64)
    for i, video_id in enumerate(video_ids):
        if not labels[video_id]:
            raise ValueError(f"video {video_id!r} has no class; register it with one")
        for j, class_id in enumerate(labels[video_id]):
            if class_id not in positions:
                raise ValueError(
                    f"video {video_id!r} has class {class_id}, of which there is no text; "
                    "run `actionlore register` again"
                )
            truth_NC[i, j] = positions[class_id]
    cosine_NC = np.full(truth_NC.shape, -np.inf)
    for j, truth_N in enumerate(truth_NC.T):
        there = np.flatnonzero(truth_N >= 0)
        own_BD = corpus.own_KD[truth_N[there]].astype(float)
        cosine_NC[there, j] = np.einsum("bd,bd->b", z_ND[there].astype(float), own_BD)
    cosine_NC = np.round(cosine_NC.clip(max=1.0), DECIMALS)
    best_N = cosine_NC.argmax(axis=1)[:, None]
    return MinedVideos(
        video_ids=pa.array(video_ids, pa.string()),
        embedding_ND=z_ND,
        truth_NC=truth_NC,
        own_N=np.take_along_axis(truth_NC, best_N, axis=1)[:, 0],
        own_cosine_N=np.take_along_axis(cosine_NC, best_N, axis=1)[:, 0],
    )


def _embeddings(
    frames: Artifact, rows: range, wanted: Mapping[str, Sequence[int]], width: int
) -> tuple[list[str], Vectors]:
    """Ids and unit rows norm(mean_t norm(CLIP(x_t))) of the wanted, readable videos."""
    ids: list[str] = []
    blocks: list[Vectors] = [np.zeros((0, width), np.float32)]
    for table in frames.parts(["video_id", "status", "embedding"], rows.start, rows.stop):
        names, statuses = table["video_id"].to_pylist(), table["status"].to_pylist()
        keep = [
            i
            for i, (video_id, status) in enumerate(zip(names, statuses, strict=True))
            if status == "ok" and video_id in wanted
        ]
        if keep:
            mean_BD = read_tensor(table, "embedding")[keep].astype(np.float32).mean(axis=1)
            if mean_BD.shape[1] != width:
                raise ValueError(
                    f"{frames.ref} has embeddings of {mean_BD.shape[1]} dimensions, the texts of "
                    f"{width}; run `actionlore mine` with one CLIP model"
                )
            blocks.append(mean_BD / np.linalg.norm(mean_BD, axis=1, keepdims=True))
            ids += [names[i] for i in keep]
    return ids, np.concatenate(blocks)
