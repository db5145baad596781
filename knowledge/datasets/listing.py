"""What a dataset reader returns, and how it becomes the `classes` and `videos` artifacts."""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from artifacts.draft import Draft
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, canonical_hash, inputs_of
from artifacts.store import Artifact, Outcome, Store
from knowledge.datasets import readers
from knowledge.datasets.class_lists import base_flags, prompt_name
from knowledge.video.decoding import VideoError
from knowledge.video.probing import VideoInfo, probe
from knowledge.video.workers import DEADLINE_S, VideoWorkers

SPLITS = ("train", "val", "test")
VIDEO_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
PART_ROWS = 16_384
"""Rows of a Parquet part: what is held in memory, and lost when the process dies."""

VIDEOS_PER_PROCESS = 200
"""Probed in the time that it takes to start a process."""

_FLAGS = {"labels": "labels", "lists": "list", "classes": "classes", "split_number": "split-number"}
"""Command-line options of the fields that only some readers use."""

_EDGE_BYTES = 64 * 1024
_NUM_QUEUED = 1024
_NUM_THREADS = 8

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class DatasetSpec(BaseModel):
    """Which dataset to read and where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """Reader: a module of `knowledge.datasets.readers`."""
    videos: Path
    """Directory that the videos' paths are relative to."""
    labels: str | None = None
    """Label file, or directory of the official list files (path or fsspec URL)."""
    lists: dict[str, str] = {}
    """List file per split, for readers that use them."""
    classes: str | None = None
    """A known class list (ava, ucf101, ...) or a CSV file with id,name[,group]; fixes the ids."""
    split_number: Literal[1, 2, 3] | None = None
    """Which of the official splits, for datasets that have three."""
    name: str | None = None
    """Name of the artifacts; the reader's name when None."""

    @property
    def official_split(self) -> int:
        """The split number, 1 if none is given."""
        return self.split_number or 1

    @property
    def artifact_name(self) -> str:
        """Name that the artifacts get."""
        return self.name or self.dataset


@dataclass(frozen=True)
class ListedVideo:
    """One video as a dataset lists it."""

    path: str
    """Relative to the video directory, with forward slashes."""
    split: str
    class_ids: tuple[int, ...]

    @property
    def video_id(self) -> str:
        """The path without its suffix."""
        return str(PurePosixPath(self.path).with_suffix(""))


@dataclass(frozen=True)
class Listing:
    """A dataset's classes (class_id, name, group) and videos."""

    classes: pd.DataFrame
    videos: Sequence[ListedVideo]
    list_files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 (hex) of each list file that was read, by file name."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was left out or doubtful, by reason."""


def read_listing(spec: DatasetSpec) -> Listing:
    """Read a dataset with the reader of its name.

    Raises:
        ValueError: unknown reader, an option that it does not use, whatever it finds wrong with the
            files, a path that leads out of the video directory, or two paths of one video_id.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(readers.__path__))
    if spec.dataset not in names:
        raise ValueError(f"unknown dataset {spec.dataset!r}; known: {', '.join(names)}")
    if not spec.videos.is_dir():
        raise ValueError(f"video directory {spec.videos} does not exist; give it with --videos")
    module = importlib.import_module(f"{readers.__name__}.{spec.dataset}")
    for name, flag in _FLAGS.items():
        if getattr(spec, name) and name not in module.OPTIONS:
            raise ValueError(f"--{flag} has no effect with dataset {spec.dataset!r}; leave it out")
    listing: Listing = module.read(spec)
    if not listing.videos:
        raise ValueError(f"dataset {spec.dataset!r} lists no videos below {spec.videos}")
    return replace(listing, videos=_checked(listing.videos, spec.videos))


def _checked(videos: Sequence[ListedVideo], root: Path) -> list[ListedVideo]:
    """The videos with normal paths inside the directory, each video once."""
    found: dict[str, ListedVideo] = {}
    for video in videos:
        path = PurePosixPath(video.path)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError(
                f"listed video {video.path!r} must be a path relative to {root} and inside it"
            )
        video = replace(video, path=str(path))
        other = found.setdefault(video.video_id, video)
        if other is not video:
            raise ValueError(
                f"{other.path!r} and {video.path!r} are the same video {video.video_id!r}; list it "
                "once (several labels of one video in one row, joined by |), or rename a file"
            )
    return list(found.values())


def class_table(ids: Mapping[str, int]) -> pd.DataFrame:
    """Classes without groups, from the ids of their names."""
    return pd.DataFrame({"class_id": ids.values(), "name": ids.keys(), "group": "all"})


def alphabetical_ids(names: Iterable[str]) -> dict[str, int]:
    """Ids from 0 of the different names, in their order."""
    return {name: class_id for class_id, name in enumerate(sorted(set(names)))}


def register_classes(store: Store, name: str, classes: pd.DataFrame) -> Outcome:
    """Publish a class list.

    Args:
        store: where to.
        name: name of the artifact.
        classes: columns class_id, name, group.

    Raises:
        ValueError: an id or name occurs twice.
    """
    rows = classes.sort_values("class_id").reset_index(drop=True)
    groups = rows["group"].tolist()
    table = pa.table(
        {
            "class_id": rows["class_id"].tolist(),
            "name": rows["name"].tolist(),
            "prompt_name": [prompt_name(each) for each in rows["name"]],
            "group": groups,
            "is_base_75": base_flags(groups, 0.75),
            "is_base_50": base_flags(groups, 0.5),
        },
        schema=schema_of("classes").arrow(),
    )
    config = {"classes": canonical_hash(table.to_pylist())}
    provenance = Provenance(kind="classes", name=name, config=config)
    if found := store.find(provenance):
        return Outcome(found, made=False)
    return Outcome(store.publish(provenance, table, {"classes": len(rows)}), made=True)


def register_videos(
    store: Store,
    spec: DatasetSpec,
    listing: Listing,
    classes: Artifact,
    progress: Progress | None = None,
    prints: Sequence[str | None] | None = None,
    max_workers: int | None = None,
    deadline_s: float = DEADLINE_S,
) -> Outcome:
    """Probe every listed video and publish the list; an unusable one is a row with its reason.

    The key covers each file's fingerprint (size, first and last 64 KiB), so a changed file is a new
    artifact while moving the directory changes nothing. The hashes of the list files are in the
    report: what they say is in the key, how they say it is not. Parts that a killed run completed
    are kept.

    Args:
        store: where to.
        spec: where the videos are, and the artifact's name.
        listing: the videos.
        classes: artifact of their classes.
        progress: told after each video.
        prints: what `fingerprints` gave for this listing; taken here when None.
        max_workers: processes at most, one per `VIDEOS_PER_PROCESS` videos; the number of cores
            when None.
        deadline_s: a video that takes longer is unreadable. Part of the key unless it is the usual
            one, so that such videos can be given more time.

    Raises:
        RuntimeError: no process can be started.
    """
    started = time.monotonic()
    videos = _by_path(listing)
    if prints is None:
        prints = fingerprints(spec.videos, listing)
    entries = [
        [video.path, video.split, list(video.class_ids), fingerprint]
        for video, fingerprint in zip(videos, prints, strict=True)
    ]
    provenance = Provenance(
        kind="videos",
        name=spec.artifact_name,
        config={"dataset": spec.dataset, "listing": canonical_hash(entries)}
        | ({} if deadline_s == DEADLINE_S else {"deadline_s": deadline_s}),
        inputs=dict(inputs_of(classes=classes)),
    )
    del entries
    if found := store.find(provenance):
        return Outcome(found, made=False)
    num_workers = min(max_workers or os.cpu_count() or 1, 1 + len(videos) // VIDEOS_PER_PROCESS)
    with (
        closing(store.draft(provenance)) as draft,
        VideoWorkers(num_workers, probe, deadline_s=deadline_s) as workers,
    ):
        num_probed = _probe_all(draft, spec.videos, videos, prints, workers, progress)
        table = draft.read(["status", "reason"])
        duration_s = time.monotonic() - started
        report = {
            "videos": dict(Counter(table["status"].to_pylist())),
            "reasons": dict(Counter(table["reason"].drop_null().to_pylist())),
            "splits": dict(Counter(video.split for video in videos)),
            "list_counts": {reason: count for reason, count in listing.counts.items() if count},
            "duration_s": round(duration_s, 3),
            "videos_per_s": round(num_probed / duration_s, 3),
            "list_files": dict(listing.list_files),
        }
        artifact = draft.publish(report)
    return Outcome(artifact, made=True, work={"videos_probed": num_probed})


def _probe_all(
    draft: Draft,
    root: Path,
    videos: Sequence[ListedVideo],
    prints: Sequence[str | None],
    workers: VideoWorkers[VideoInfo],
    progress: Progress | None,
) -> int:
    """Write the parts that the draft lacks; the number of videos probed for that."""
    num_probed = 0
    for part, start in enumerate(range(0, len(videos), PART_ROWS)):
        if draft.has(part):
            continue
        here = slice(start, start + PART_ROWS)
        infos = workers.map((root / video.path for video in videos[here]), _NUM_QUEUED)
        rows = []
        for each in zip(videos[here], prints[here], infos, strict=True):
            rows.append(_row(root, *each))
            if progress:
                progress(start + len(rows), len(videos))
        draft.write(pa.Table.from_pylist(rows, schema=schema_of("videos").arrow()), part)
        num_probed += len(rows)
    return num_probed


def fingerprints(
    root: Path, listing: Listing, progress: Progress | None = None
) -> list[str | None]:
    """`file_fingerprint` of each listed video, in the order of their paths."""
    paths = [root / video.path for video in _by_path(listing)]
    prints = []
    for each in _mapped(file_fingerprint, paths):
        prints.append(each)
        if progress:
            progress(len(prints), len(paths))
    return prints


def file_fingerprint(path: Path) -> str | None:
    """SHA-256 (hex) of a file's size, first and last 64 KiB; None if it cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            edges = file.read(_EDGE_BYTES)
            file.seek(max(size - _EDGE_BYTES, 0))
            edges += file.read(_EDGE_BYTES)
    except OSError:
        return None
    return hashlib.sha256(f"{size}:".encode() + edges).hexdigest()


def _by_path(listing: Listing) -> list[ListedVideo]:
    return sorted(listing.videos, key=lambda video: video.path)


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def _mapped(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """Results in order from threads, with a bounded queue."""
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for start in range(0, len(items), _NUM_QUEUED):
            yield from pool.map(function, items[start : start + _NUM_QUEUED])


def _row(
    root: Path, video: ListedVideo, fingerprint: str | None, info: VideoInfo | VideoError
) -> dict[str, object]:
    row: dict[str, object] = {
        "video_id": video.video_id,
        "path": video.path,
        "split": video.split,
        "class_ids": list(video.class_ids),
        "fingerprint": fingerprint,
        "status": "ok",
    }
    if isinstance(info, VideoError):
        status = "unreadable" if fingerprint or _exists(root / video.path) else "missing"
        return row | {"status": status, "reason": info.reason}
    return row | vars(info)


def _exists(path: Path) -> bool:
    """Whether there is something, be it unreadable."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
