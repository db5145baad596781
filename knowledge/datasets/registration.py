"""A listing as artifacts: `classes`, and `videos` with every file probed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.draft import Draft
from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, canonical_hash, inputs_of
from artifacts.store import Store
from artifacts.views.unusable import unusable
from knowledge.datasets.class_names import base_flags, prompt_name
from knowledge.datasets.listing import ListedVideo, Listing
from knowledge.datasets.spec import DatasetSpec
from knowledge.video.decoding import VideoError
from knowledge.video.fingerprint import file_fingerprint
from knowledge.video.probing import VideoInfo, probe
from knowledge.video.workers import DEADLINE_S, VideoWorkers

PART_ROWS = 16_384
"""Rows of a Parquet part: what is held in memory, and lost when the process dies."""


VIDEOS_PER_PROCESS = 200
"""Videos probed in the time that it takes to start a process; fewer are not worth one."""


_NUM_QUEUED = 1024


_NUM_THREADS = 8


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
    *,
    probing: Callable[[Path], VideoInfo] = probe,
    part_rows: int = PART_ROWS,
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
        probing: what is done with each file, in a process of its own.
        part_rows: videos of each Parquet part.

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
        VideoWorkers(num_workers, probing, deadline_s=deadline_s) as workers,
    ):
        num_probed = _probe_all(draft, spec.videos, videos, prints, workers, part_rows, progress)
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
            "list_forms": dict(listing.forms),
        }
        artifact = draft.publish(report)
    return Outcome(artifact, made=True, work={"videos_probed": num_probed})


def check_usable(videos: Artifact, root: Path) -> None:
    """Check that there is a video to go on with.

    Raises:
        ValueError: there is none; with the first reasons.
    """
    table = videos.read(["video_id", "status", "reason"])
    if "ok" in table["status"].to_pylist():
        return
    why = unusable(table)
    raise ValueError(
        f"{videos.ref} is published, but none of its videos below {root} can be used: {why}; "
        "give their directory with --videos, or their features to `actionlore register-features`"
    )


def _probe_all(
    draft: Draft,
    root: Path,
    videos: Sequence[ListedVideo],
    prints: Sequence[str | None],
    workers: VideoWorkers[VideoInfo],
    part_rows: int,
    progress: Progress | None,
) -> int:
    """Write the parts that the draft lacks; the number of videos probed for that."""
    num_probed = 0
    for part, start in enumerate(range(0, len(videos), part_rows)):
        if draft.has(part):
            continue
        here = slice(start, start + part_rows)
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
