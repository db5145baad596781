"""The videos of one Parquet part of `frame_embeddings`: decoded, encoded and stored.

Legend: N images, B videos, T frames, S pixels, D embedding.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from artifacts.draft import Draft
from artifacts.kinds import schema_of
from artifacts.tensors import append_tensor
from knowledge.embedding.engine.image_encoder import IMAGES_PER_BATCH, Encode, Rows, canary_images
from knowledge.embedding.engine.spec import Part, VideoRow
from knowledge.video.decoding import VideoError
from knowledge.video.fingerprint import file_fingerprint
from knowledge.video.frames import read_clip
from knowledge.video.resizing import Resizing
from knowledge.video.sampling import fixed_frames

CANARY = "canary.npy"
CANARY_COSINE = 0.999
"""Least cosine similarity between two machines' embeddings of a canary image; bf16 against fp32
has 0.9999."""


class PartEncoder:
    """Decodes videos and fills batches of a fixed size across them, in their order."""

    def __init__(
        self,
        part: Part,
        encode: Encode,
        image_size: int,
        resizing: Resizing,
        decoding: Callable[[int | None], None],
    ) -> None:
        """Prepare.

        Args:
            part: what to make.
            encode: the encoder.
            image_size: pixels S of its images.
            resizing: how whole pictures become its images.
            decoding: called with the place of a video before its file is touched, and with None
                when it is let go.

        Raises:
            ValueError: frames shorter than the model's images are asked for, or a short side of
                pictures that are not cropped.
        """
        part.frames.check(image_size, resizing)
        self.part, self.encode, self.image_size = part, encode, image_size
        self.resizing = resizing
        self.decoding = decoding
        self.batches: list[tuple[Rows, Rows]] = []
        self._waiting: list[torch.Tensor] = []
        """Images of a batch that is not full, (n, 3, S, S) each."""

    def make(self) -> tuple[pa.Table, int]:
        """The table of the part, and how many of its videos were decoded.

        Raises:
            ValueError: a file is not the one that was registered.
        """
        plain, valid = [], []
        for place, video in enumerate(self.part.videos):
            pts, status, reason = self._decoded(place, video)
            plain.append((video.video_id, pts, status, reason))
            valid.append(status == "ok")
        self._encode_waiting()
        columns = schema_of("frame_embeddings").columns[:4]
        table = pa.table(
            [pa.array(v, c.type) for v, c in zip(zip(*plain, strict=True), columns, strict=True)],
            schema=pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns]),
        )
        return self._with_embeddings(table, np.array(valid)), sum(valid)

    def _with_embeddings(
        self, table: pa.Table, valid: np.ndarray[tuple[int], np.dtype[np.bool_]]
    ) -> pa.Table:
        T = self.part.frames.num_frames
        if self.batches:
            units_ND, norms_N = (np.concatenate(each) for each in zip(*self.batches, strict=True))
        else:  # the width is still needed
            units, norms = self.encode(canary_images(self.image_size)[:1])
            units_ND, norms_N = units[:0], norms[:0]
        embedding_BTD = np.zeros((len(valid), T, units_ND.shape[1]), np.float16)
        norms_BT = np.zeros((len(valid), T), np.float32)
        embedding_BTD[valid] = units_ND.reshape(-1, T, units_ND.shape[1])
        norms_BT[valid] = norms_N.reshape(-1, T)
        table = append_tensor(table, "feature_norms", norms_BT, valid)
        return append_tensor(table, "embedding", embedding_BTD, valid)

    def _decoded(self, place: int, video: VideoRow) -> tuple[list[float], str, str | None]:
        """Frame times, status and reason of a video, whose frames then wait for the encoder."""
        if video.status != "ok":
            return [], video.status, video.reason
        if place in self.part.unreadable:
            return [], "unreadable", self.part.unreadable[place]
        frames = self.part.frames
        path = Path(self.part.root) / video.path
        self.decoding(place)
        try:
            self._check_file(path, video)
            try:
                clip = read_clip(
                    path,
                    lambda n: fixed_frames(n, frames.num_frames, frames.offset)[0],
                    self.image_size,
                    frames.short_side,
                    self.resizing,
                )
            except VideoError as error:
                self._check_file(path, video)  # it may have gone meanwhile
                return [], "unreadable", error.reason
        finally:
            self.decoding(None)
        self._waiting.append(clip.images)
        if sum(map(len, self._waiting)) >= IMAGES_PER_BATCH:
            self._encode_full_batches()
        return clip.pts_s.tolist(), "ok", None

    def _check_file(self, path: Path, video: VideoRow) -> None:
        """Refuse a file that is not the one that was registered."""
        if file_fingerprint(path) != video.fingerprint:
            what = "differs from what was registered" if path.exists() else "does not exist"
            raise ValueError(
                f"video {video.path!r} {what} in {self.part.root}; give the directory it was "
                "registered from with --videos, or register the videos again"
            )

    def _encode_full_batches(self) -> None:
        images = torch.cat(self._waiting)
        full = len(images) - len(images) % IMAGES_PER_BATCH
        self.batches += [
            self.encode(batch) for batch in torch.split(images[:full], IMAGES_PER_BATCH)
        ]
        self._waiting = [images[full:]]

    def _encode_waiting(self) -> None:
        """Encode the rest as a full batch, for the batch's size shows in the last bits of a row."""
        if count := sum(map(len, self._waiting)):
            filling = self._waiting[0].new_zeros(
                IMAGES_PER_BATCH - count, *self._waiting[0].shape[1:]
            )
            units, norms = self.encode(torch.cat([*self._waiting, filling]))
            self.batches.append((units[:count], norms[:count]))


def is_stored(part: Part) -> bool:
    """Whether the draft has the part already."""
    return Draft(part.provenance, Path(part.draft)).has(part.number)


def store_part(part: Part, table: pa.Table) -> None:
    """Write a part into its draft, complete or not at all."""
    Draft(part.provenance, Path(part.draft)).write(table, part.number)


def check_canary(part: Part, units_ND: Rows) -> None:
    """Compare this machine's embeddings of the canary images with those the draft began with.

    Raises:
        ValueError: they differ, so that parts made here must not be mixed with the others.
    """
    path = Path(part.draft) / CANARY
    if not path.exists():
        data = io.BytesIO()
        np.save(data, units_ND, allow_pickle=False)
        draft = Draft(part.provenance, Path(part.draft))
        if draft.write_file(CANARY, data.getvalue(), first=True):
            return
    stored = np.load(path, allow_pickle=False)
    cosine = float((stored * units_ND).sum(axis=1).min()) if stored.shape == units_ND.shape else 0.0
    if not cosine >= CANARY_COSINE:
        raise ValueError(
            f"this machine embeds the canary images unlike the one that began {part.provenance.ref}"
            f" (cosine {cosine:.3f}); go on there, or remove {part.draft} to begin anew"
        )
