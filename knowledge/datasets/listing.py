"""What a dataset reader returns, and how it becomes the `classes` and `videos` artifacts."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import fsspec
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

import knowledge.datasets
from artifacts.provenance import Provenance, canonical_hash, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from knowledge.datasets.class_lists import base_flags, class_list, prompt_name

SPLITS = ("train", "val", "test")
VIDEO_SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
_NOT_READERS = {"listing", "class_lists"}
_EDGE_BYTES = 64 * 1024

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class DatasetSpec(BaseModel):
    """Which dataset to read and where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    """Reader: a module of `knowledge.datasets`, or a package there with a `reader` module."""
    videos: Path
    """Directory that the videos' paths are relative to."""
    labels: str | None = None
    """Label file of the dataset (path or fsspec URL)."""
    lists: dict[str, str] = {}
    """List file per split, for readers that use them."""
    classes: str | None = None
    """A known class list (ava, ucf101, ...) or a CSV file with id,name[,group]; fixes the ids."""
    name: str | None = None
    """Name of the artifacts; the reader's name when None."""

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


def read_listing(spec: DatasetSpec) -> Listing:
    """Read a dataset with the reader of its name.

    Raises:
        ValueError: unknown reader, whatever the reader finds wrong with the files, a path that
            leads out of the video directory, or two paths of one video_id.
    """
    readers = [
        module.name
        for module in pkgutil.iter_modules(knowledge.datasets.__path__)
        if module.name not in _NOT_READERS
    ]
    if spec.dataset not in readers:
        raise ValueError(f"unknown dataset {spec.dataset!r}; known: {', '.join(sorted(readers))}")
    if not spec.videos.is_dir():
        raise ValueError(f"video directory {spec.videos} does not exist; give it with --videos")
    module = importlib.import_module(f"knowledge.datasets.{spec.dataset}")
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{module.__name__}.reader")
    listing: Listing = module.read(spec)
    if not listing.videos:
        raise ValueError(f"dataset {spec.dataset!r} lists no videos below {spec.videos}")
    return Listing(listing.classes, _checked(listing.videos, spec.videos))


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


def read_table(path: str, what: str) -> pd.DataFrame:
    """A CSV file as text columns.

    Raises:
        ValueError: it does not exist or is no CSV file.
    """
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig") as file:
            table: pd.DataFrame = pd.read_csv(file, dtype=str, keep_default_na=False)
            return table
    except FileNotFoundError as error:
        raise ValueError(f"{what} {path} does not exist") from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{what} {path} is not a CSV file: {str(error).splitlines()[0]}"
        ) from error


def fixed_classes(classes: str) -> pd.DataFrame:
    """The class list of a name or CSV file.

    Raises:
        ValueError: neither a known name nor a CSV file with id and name columns.
    """
    if not classes.endswith(".csv"):
        return class_list(classes)
    table = read_table(classes, "class list")
    if not {"id", "name"} <= set(table.columns):
        raise ValueError(f"class list {classes}: columns are {list(table.columns)}, need id,name")
    bad = table[~table["id"].str.fullmatch(r"\d+")]
    if len(bad):
        raise ValueError(f"class list {classes}, row {bad.index[0] + 2}: id {bad['id'].iloc[0]!r}")
    group = table.get("group", "all")
    return pd.DataFrame(
        {"class_id": table["id"].astype(int), "name": table["name"], "group": group}
    )


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
    max_workers: int = 8,
) -> Outcome:
    """Probe every listed video and publish the list; an unusable one is a row with its reason.

    The key covers each file's fingerprint (size, first and last 64 KiB), so a changed file is a new
    artifact while moving the directory changes nothing.
    """
    started = time.monotonic()
    listed = sorted(listing.videos, key=lambda video: video.path)
    with ThreadPoolExecutor(max_workers) as pool:
        prints = list(pool.map(lambda video: file_fingerprint(spec.videos / video.path), listed))
        entries = [
            [video.path, video.split, list(video.class_ids), fingerprint]
            for video, fingerprint in zip(listed, prints, strict=True)
        ]
        provenance = Provenance(
            kind="videos",
            name=spec.artifact_name,
            config={"dataset": spec.dataset, "listing": canonical_hash(entries)},
            inputs=dict(inputs_of(classes=classes)),
        )
        if found := store.find(provenance):
            return Outcome(found, made=False)
        rows = []
        for row in pool.map(
            lambda item: _row(spec.videos, *item), zip(listed, prints, strict=True)
        ):
            rows.append(row)
            if progress:
                progress(len(rows), len(listed))
    table = pa.Table.from_pylist(rows, schema=schema_of("videos").arrow())
    counts = Counter(row["status"] for row in rows)
    reasons = Counter(row["reason"] for row in rows if "reason" in row)
    duration_s = time.monotonic() - started
    report = {
        "videos": dict(counts),
        "reasons": dict(reasons),
        "splits": _split_counts(listed),
        "duration_s": round(duration_s, 3),
        "videos_per_s": round(len(rows) / duration_s, 3),
    }
    artifact = store.publish(provenance, table, report)
    return Outcome(artifact, made=True, work={"videos_probed": len(rows)})


def _row(root: Path, video: ListedVideo, fingerprint: str | None) -> dict[str, object]:
    from knowledge.video import VideoError, probe

    row: dict[str, object] = {
        "video_id": video.video_id,
        "path": video.path,
        "split": video.split,
        "class_ids": list(video.class_ids),
        "fingerprint": fingerprint,
        "status": "ok",
    }
    try:
        info = probe(root / video.path)
    except VideoError as error:
        status = "unreadable" if fingerprint else "missing"
        return row | {"status": status, "reason": error.reason}
    return row | vars(info)


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


def _split_counts(videos: Sequence[ListedVideo]) -> dict[str, int]:
    return dict(Counter(video.split for video in videos))
