"""The `frame_embeddings` of a dataset: its parts, made by workers, and their publication."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from artifacts.artifact import Artifact, Outcome
from artifacts.draft import Draft
from artifacts.jobs import Progress
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.engine.client import engine
from knowledge.embedding.engine.spec import Part, VideoRow, WorkerPoolSpec

MIN_VIDEOS_PER_PART, MAX_VIDEOS_PER_PART = 8, 64
NUM_PARTS = 256
"""Parts of an artifact, unless they would hold fewer or more videos than the bounds above. A crash
costs at most one unfinished part per worker."""


@dataclass(frozen=True)
class FrameJob:
    """The `frame_embeddings` of a dataset's videos with one model and settings.

    Every usable video is decoded and embedded; an unreadable one is a row with its reason. Bytes do
    not depend on the number of workers, and finished parts survive a crash.
    """

    store: Store
    clip: LazyClip
    videos: Artifact
    root: Path
    frames: FrameConfig
    encoding: EncodingOptions
    """As `EncodingOptions.resolved` gives them for this machine."""
    min_videos_per_part: int = MIN_VIDEOS_PER_PART
    """The parts of one draft must be made with the same."""

    @cached_property
    def provenance(self) -> Provenance:
        """The precision is part of the key, so artifacts never mix two of them."""
        return Provenance(
            kind="frame_embeddings",
            name=self.videos.manifest.name,
            config={
                "clip": self.clip.identity,
                "precision": self.encoding.precision,
                **self.frames.model_dump(),
            },
            inputs=dict(inputs_of(videos=self.videos)),
        )

    @cached_property
    def rows(self) -> list[VideoRow]:
        """The videos, in their order."""
        table = self.videos.read(list(VideoRow.model_fields))
        return [VideoRow(**row) for row in table.to_pylist()]

    @property
    def videos_per_part(self) -> int:
        """Depends on no machine and no runner, as parts of several runs must fit together."""
        wanted = -(-len(self.rows) // NUM_PARTS)
        return min(max(wanted, self.min_videos_per_part), MAX_VIDEOS_PER_PART)

    @property
    def num_parts(self) -> int:
        """Parts of the artifact, at least one."""
        return max(1, -(-len(self.rows) // self.videos_per_part))

    def make(
        self, draft: Draft, part_numbers: Sequence[int], progress: Progress | None = None
    ) -> Counter[str]:
        """Make those parts that the draft does not have; the work that took.

        Raises:
            ValueError: the directory does not hold the files that were registered, or this machine
                embeds unlike the one that began the draft.
            RuntimeError: workers died over and over.
        """
        if not self.root.is_dir():
            raise ValueError(f"video directory {self.root} does not exist; give it with --videos")
        work = Counter(videos_decoded=0, frames_encoded=0)
        counts: dict[int, int] = {}
        total = sum(len(self._rows_of(number)) for number in part_numbers)

        def seen(number: int, count: int) -> None:
            counts[number] = max(count, counts.get(number, 0))
            if progress:
                progress(sum(counts.values()), total)

        def made(part: Part, num_decoded: int) -> None:
            work["videos_decoded"] += num_decoded
            work["frames_encoded"] += num_decoded * self.frames.num_frames
            seen(part.number, len(part.videos))

        missing = []
        for number in part_numbers:
            if draft.has(number):
                seen(number, len(self._rows_of(number)))
            else:
                missing.append(number)
        if not missing:
            return work
        precision = self.encoding.precision
        assert precision != "auto"
        pool = WorkerPoolSpec(
            num_workers=self.encoding.num_workers or 1,
            separate_encoder=bool(self.encoding.separate_encoder),
            device=self.clip.device,
        )
        with engine(self.clip, precision) as running:
            parts = (self._part(draft, number) for number in missing)
            running.run(parts, pool, seen, made)
        return work

    def publish(self, draft: Draft, work: Counter[str], duration_s: float) -> Outcome:
        """Publish a draft that has all parts.

        Raises:
            ValueError: it holds other videos than the dataset.
        """
        made = draft.read(["video_id", "status", "reason"]).to_pydict()
        if made["video_id"] != [row.video_id for row in self.rows]:
            raise ValueError(f"{draft.directory} holds other videos; remove it and run again")
        report = {
            "videos": dict(Counter(made["status"])),
            "reasons": dict(Counter(reason for reason in made["reason"] if reason)),
            "duration_s": round(duration_s, 3),
            "videos_per_s": round(work["videos_decoded"] / duration_s, 3),
            "num_workers": self.encoding.num_workers,
            **work,
        }
        return Outcome(draft.publish(report), made=True, work=dict(work))

    def _rows_of(self, number: int) -> list[VideoRow]:
        size = self.videos_per_part
        return self.rows[number * size : (number + 1) * size]

    def _part(self, draft: Draft, number: int) -> Part:
        return Part(
            number=number,
            videos=tuple(self._rows_of(number)),
            root=str(self.root.absolute()),  # workers may have begun in another directory
            frames=self.frames,
            provenance=self.provenance,
            draft=str(draft.directory),
            deadline_s=self.encoding.deadline_s,
        )
