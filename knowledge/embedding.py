"""Texts and videos to embedding artifacts with frozen CLIP.

Legend: B videos, T frames, D embedding.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import torch
from pydantic import BaseModel, ConfigDict, Field

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from artifacts.tensors import append_tensor
from knowledge.clip import LazyClip, encode_frames, encode_texts
from knowledge.datasets.listing import file_fingerprint
from knowledge.video import (
    VideoError,
    read_frames,
    resize_and_crop,
    segment_centres,
    segment_starts,
)

VIDEOS_PER_PART = 64
"""Videos per Parquet part; a crash loses at most one unfinished part."""

PROMPT = "This is a video about {label}"
"""Source: MGDM, section 2.4."""


class FrameConfig(BaseModel):
    """Which pixels of a video are embedded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_frames: int = Field(16, ge=1)
    """Frames T per video."""
    offset: Literal["center", "start"] = "center"
    """Which frame of each of the T equal segments."""
    short_side: int | None = Field(None, ge=1)
    """Pixels of the short side before the centre crop; the model's image size when None."""


def text_embeddings(
    store: Store,
    clip: LazyClip,
    classes: Artifact,
    descriptions: Artifact | None = None,
    template: str = PROMPT,
) -> Outcome:
    """Embed each class's prompt and, where given, its descriptions.

    Raises:
        ValueError: a template without {label}, or a text too long for CLIP.
    """
    if "{label}" not in template:
        raise ValueError(f"prompt template {template!r} must contain {{label}}")
    corpus = classes.manifest.name
    provenance = Provenance(
        kind="text_embeddings",
        name=corpus,
        config={"clip": clip.identity, "template": template, "corpus": corpus},
        inputs=dict(inputs_of(classes=classes, descriptions=descriptions)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    rows = list(_text_rows(classes, descriptions, template))
    units, norms = encode_texts(clip.clip, [row["text"] for row in rows])
    for row, norm in zip(rows, norms.tolist(), strict=True):
        row["feature_norm"] = norm
    fields = [
        pa.field(column.name, column.type, column.nullable)
        for column in schema_of("text_embeddings").columns
        if not column.is_tensor
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    table = append_tensor(table, "embedding", units.numpy())
    sources = Counter(row["source"] for row in rows)
    report = {"texts": dict(sources), "logit_scale": clip.clip.logit_scale}
    artifact = store.publish(provenance, table, report)
    return Outcome(artifact, made=True, work={"texts_encoded": len(rows)})


def frame_embeddings(
    store: Store,
    clip: LazyClip,
    videos: Artifact,
    root: Path,
    config: FrameConfig,
    progress: Callable[[int, int], None] | None = None,
    max_workers: int = 4,
) -> Outcome:
    """Decode and embed every usable video; an unreadable one is a row with its reason.

    Decoding runs in threads ahead of the encoder. Finished parts survive a crash.

    Raises:
        ValueError: the directory does not hold the files that were registered.
    """
    provenance = Provenance(
        kind="frame_embeddings",
        name=videos.manifest.name,
        config={"clip": clip.identity, **config.model_dump()},
        inputs=dict(inputs_of(videos=videos)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    started = time.monotonic()
    if not root.is_dir():
        raise ValueError(f"video directory {root} does not exist; give it with --videos")
    rows = videos.read(["video_id", "path", "fingerprint", "status", "reason"]).to_pylist()
    job = _FrameJob(clip, root, config, len(rows), progress)
    with ThreadPoolExecutor(max_workers) as pool:
        for _ in pool.map(job.check_file, rows):
            pass
        with closing(store.draft(provenance)) as draft:
            for part, start in enumerate(range(0, len(rows), VIDEOS_PER_PART)):
                chunk = rows[start : start + VIDEOS_PER_PART]
                if draft.has(part):
                    job.advance(len(chunk))
                else:
                    draft.write(job.part(chunk, pool), part)
            made = draft.read(["status", "reason"]).to_pydict()
            duration_s = time.monotonic() - started
            report = {
                "videos": dict(Counter(made["status"])),
                "reasons": dict(Counter(reason for reason in made["reason"] if reason)),
                "duration_s": round(duration_s, 3),
                "videos_per_s": round(job.work["videos_decoded"] / duration_s, 3),
                **job.work,
            }
            return Outcome(draft.publish(report), made=True, work=dict(job.work))


def _text_rows(
    classes: Artifact, descriptions: Artifact | None, template: str
) -> Iterator[dict[str, Any]]:
    """Prompt rows in class order, then description rows."""
    corpus = classes.manifest.name
    names = {}
    for row in classes.read(["class_id", "name", "prompt_name"]).to_pylist():
        names[row["class_id"]] = row["name"]
        yield {
            "text_id": f"{corpus}/{row['class_id']}/prompt",
            "corpus": corpus,
            "class_id": row["class_id"],
            "source": "prompt",
            "name": row["name"],
            "text": template.replace("{label}", row["prompt_name"]),
        }
    for row in descriptions.read().to_pylist() if descriptions else []:
        yield {
            "text_id": f"{corpus}/{row['class_id']}/description/{row['prompt_id']}",
            "corpus": corpus,
            "class_id": row["class_id"],
            "source": "description",
            "name": names[row["class_id"]],
            "text": row["text"],
        }


class _FrameJob:
    """Decodes ahead in threads and encodes one video after the other."""

    def __init__(
        self,
        clip: LazyClip,
        root: Path,
        config: FrameConfig,
        total: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.clip, self.root, self.config = clip, root, config
        self.total, self.progress, self.done = total, progress, 0
        self.work = Counter(videos_decoded=0, frames_encoded=0)

    def advance(self, count: int) -> None:
        """Count finished videos."""
        self.done += count
        if self.progress:
            self.progress(self.done, self.total)

    def check_file(self, row: dict[str, Any]) -> None:
        """Refuse a usable video whose file is not the one that was registered."""
        path = self.root / row["path"]
        if row["status"] == "ok" and file_fingerprint(path) != row["fingerprint"]:
            what = "differs from what was registered" if path.exists() else "does not exist"
            raise ValueError(
                f"video {row['path']!r} {what} in {self.root}; give the directory it was "
                "registered from with --videos, or register the videos again"
            )

    def part(self, rows: list[dict[str, Any]], pool: ThreadPoolExecutor) -> pa.Table:
        """The table of some videos, in their order."""
        T, D = self.config.num_frames, self.clip.clip.dim
        embedding_BTD = np.zeros((len(rows), T, D), np.float16)
        norms_BT = np.zeros((len(rows), T), np.float32)
        valid = np.zeros(len(rows), bool)
        plain = []
        for i, (row, decoded) in enumerate(_prefetched(pool, self._decode, rows, ahead=8)):
            pts: list[float] = []
            if isinstance(decoded, VideoError):
                status, reason = "unreadable", decoded.reason
            elif decoded is None:
                status, reason = row["status"], row["reason"]
            else:
                images_T3HW, pts = decoded
                units_TD, lengths_T = encode_frames(self.clip.clip, images_T3HW)
                embedding_BTD[i], norms_BT[i], valid[i] = units_TD, lengths_T, True
                status, reason = "ok", None
                self.work.update(videos_decoded=1, frames_encoded=T)
            plain.append((row["video_id"], pts, status, reason))
            self.advance(1)
        columns = schema_of("frame_embeddings").columns[:4]
        table = pa.table(
            [pa.array(v, c.type) for v, c in zip(zip(*plain, strict=True), columns, strict=True)],
            schema=pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns]),
        )
        table = append_tensor(table, "feature_norms", norms_BT, valid)
        return append_tensor(table, "embedding", embedding_BTD, valid)

    def _decode(self, row: dict[str, Any]) -> tuple[torch.Tensor, list[float]] | VideoError | None:
        """Pixels (T, 3, S, S) and times; an error that was met; None for an unusable video."""
        if row["status"] != "ok":
            return None
        choose = segment_centres if self.config.offset == "center" else segment_starts
        try:
            frames = read_frames(
                self.root / row["path"], lambda n: choose(n, self.config.num_frames)
            )
        except VideoError as error:
            self.check_file(row)  # the file may have gone since the job began
            return error
        size = self.clip.clip.image_size
        return resize_and_crop(frames.images, size, self.config.short_side), frames.pts_s.tolist()


T_ = TypeVar("T_")
R_ = TypeVar("R_")


def _prefetched(
    pool: ThreadPoolExecutor, function: Callable[[T_], R_], items: list[T_], ahead: int
) -> Iterator[tuple[T_, R_]]:
    """Items with their results, in order, at most `ahead` results waiting in memory."""
    waiting: deque[tuple[T_, Future[R_]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) >= ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for item, future in waiting:
        yield item, future.result()
