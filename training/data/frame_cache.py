"""Frame embeddings as arrays: in RAM, or mapped from a file where they are large.

Parquet is read part by part and never by row. Embeddings that would fill too much of the memory are
copied once to arrays beside the store's drafts, named by their content hash, and mapped: a batch
then reads its own rows and nothing else, and processes share one copy. The arrays are verified when
they are opened, made again if damaged, and removed by `actionlore gc` once no process uses them.

Legend: N videos, T frames, D embedding.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from artifacts.artifact import Artifact
from artifacts.files import DirectoryLock, exclusive, file_sha256, fsync, replacing
from artifacts.tensors import read_tensor

logger = logging.getLogger(__name__)

RAM_SHARE = 0.25
"""Share of the machine's memory that embeddings may take, over all processes of a run."""
COLUMNS = {"embedding": np.float16, "feature_norms": np.float32}
"""Tensor columns, and the types they are kept in."""
_INDEX = "index.json"
"""Written last: video ids, their status, and the SHA-256 of the arrays."""
_LOCK = "building.lock"


@dataclass(frozen=True, eq=False)
class FrameArrays:
    """Frame embeddings by row."""

    video_ids: list[str]
    statuses: list[str]
    units_NTD: torch.Tensor
    """Unit rows, float16; zeros where a video has none."""
    norms_NT: torch.Tensor
    """Their lengths before normalisation, float32."""
    held: object = None
    """Keeps mapped arrays from being removed."""


def frame_arrays(frames: Artifact, ram_bytes: int | None = None) -> FrameArrays:
    """The arrays of a `frame_embeddings` artifact.

    Args:
        frames: the artifact.
        ram_bytes: map them if they are larger; `RAM_SHARE` of the memory when None.

    Raises:
        CorruptArtifactError: a file of the artifact is damaged.
    """
    if ram_bytes is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        ram_bytes = int(RAM_SHARE * memory / int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if sum(entry.num_bytes for entry in frames.manifest.files) > ram_bytes:
        return _mapped(frames)
    listed: list[pa.Table] = []
    arrays: dict[str, torch.Tensor] = {}
    for part in _parts(frames):
        start = sum(map(len, listed))
        listed.append(part.select(["video_id", "status"]))
        for name in COLUMNS:
            rows = torch.from_numpy(_tensor(part, name))
            if name not in arrays:
                arrays[name] = rows.new_empty(frames.manifest.num_rows, *rows.shape[1:])
            arrays[name][start : start + len(rows)] = rows
    return FrameArrays(*_listed(listed), arrays["embedding"], arrays["feature_norms"])


def cache_directory(frames: Artifact) -> Path:
    """Where the arrays of an artifact are kept for mapping."""
    return frames.store.drafts / f"cache-{frames.manifest.content_hash[:32]}"


def _mapped(frames: Artifact) -> FrameArrays:
    directory = cache_directory(frames)
    held = DirectoryLock(directory, f"the arrays of {frames.ref}", shared=True)
    index = _verified(directory)
    if index is None:
        with exclusive(directory / _LOCK):  # another process may be at it
            index = _verified(directory) or _build(frames, directory)
    (directory / _INDEX).touch()  # `gc` goes by the time of the last use
    # A private mapping: writable to torch, which would warn otherwise, but never written to.
    arrays = {
        name: torch.from_numpy(np.load(directory / f"{name}.npy", mmap_mode="c"))
        for name in COLUMNS
    }
    return FrameArrays(
        index["video_ids"], index["statuses"], arrays["embedding"], arrays["feature_norms"], held
    )


def _verified(directory: Path) -> dict[str, Any] | None:
    """The index, if all that it lists is there and undamaged."""
    try:
        index: dict[str, Any] = json.loads((directory / _INDEX).read_bytes())
        fine = all(
            file_sha256(directory / f"{name}.npy") == index["sha256"][name] for name in COLUMNS
        )
    except (FileNotFoundError, ValueError, KeyError):
        return None
    if not fine:
        logger.warning("%s is damaged and is made again", directory)
    return index if fine else None


def _build(frames: Artifact, directory: Path) -> dict[str, Any]:
    """Copy the artifact's tensors into arrays, one part at a time."""
    logger.info("copying %s to arrays in %s", frames.ref, directory)
    for name in (_INDEX, *(f"{name}.npy" for name in COLUMNS)):
        (directory / name).unlink(missing_ok=True)
    num_rows, listed, digests = frames.manifest.num_rows, [], dict[str, Any]()
    files: dict[str, IO[bytes]] = {}
    try:
        for part in _parts(frames):
            listed.append(part.select(["video_id", "status"]))
            for name, dtype in COLUMNS.items():
                rows = _tensor(part, name)
                if name not in files:
                    files[name] = (directory / f"{name}.npy").open("w+b")
                    header = {
                        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
                        "fortran_order": False,
                        "shape": (num_rows, *rows.shape[1:]),
                    }
                    np.lib.format.write_array_header_1_0(files[name], header)
                files[name].write(rows.data)
        for name, file in files.items():
            file.flush()
            fsync(directory / f"{name}.npy")
            digests[name] = file_sha256(directory / f"{name}.npy")
    finally:
        for file in files.values():
            file.close()
    video_ids, statuses = _listed(listed)
    index = {"video_ids": video_ids, "statuses": statuses, "sha256": digests}
    with replacing(directory / _INDEX) as path:
        path.write_text(json.dumps(index))
    return index


def _parts(frames: Artifact) -> Iterator[pa.Table]:
    return frames.parts(["video_id", "status", *COLUMNS])


def _listed(parts: list[pa.Table]) -> tuple[list[str], list[str]]:
    table = pa.concat_tables([part.select(["video_id", "status"]) for part in parts])
    return table["video_id"].to_pylist(), table["status"].to_pylist()


def _tensor(part: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.ascontiguousarray(read_tensor(part, name).astype(COLUMNS[name], copy=False))
