"""Features that a user already has to `frame_embeddings` and `text_embeddings` of a dataset.

Videos and classes are joined by id or name, never by position. The encoder is known by what the
user calls it: everything made with features of one name counts as made with one CLIP.

Legend: N rows, T frames, D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.artifact import Artifact, Outcome
from artifacts.files import file_sha256
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor, read_tensor

Floats = npt.NDArray[np.float32]
_MISSING = "no features were given"


def named_encoder(name: str) -> dict[str, str]:
    """Identity, in artifacts, of an encoder whose weights are not at hand."""
    return {
        "arch": name,
        "weights_sha256": hashlib.sha256(f"features named {name}".encode()).hexdigest(),
    }


def register_features(
    store: Store, videos: Artifact, features: Path, clip: dict[str, str]
) -> Outcome:
    """Make `frame_embeddings` of a registered dataset from features.

    Features need not be normalised; their lengths are kept. A video without any is `missing`;
    features of videos that are not in the dataset are counted.

    Args:
        store: where to publish.
        videos: the dataset's videos.
        features: a .npz with one array (T, D) or (D,) per video, named by its id, or with
            `video_id` (N,) and `features` (N, T, D) or (N, D); or a .parquet with `video_id` and a
            column of (nested) lists or tensors, `features` or `embedding`.
        clip: identity of the encoder.

    Raises:
        ValueError: a file that cannot be read so, features of several shapes, one that is not
            finite or is zero, an id that comes twice, or none of the dataset's videos.
    """
    wanted = videos.read(["video_id"])["video_id"].to_pylist()
    rows = _read(features, "video_id")
    given = {key: np.atleast_2d(row) for key, row in rows.items() if key in set(wanted)}
    if not given:
        raise ValueError(
            f"{features} has no features of a video of {videos.ref}: its ids are like "
            f"{next(iter(rows), 'none')!r}, the dataset's like {wanted[0]!r}"
        )
    T, D = _one_shape(given, features)
    provenance = Provenance(
        kind="frame_embeddings",
        name=videos.manifest.name,
        config={"clip": clip, "num_frames": T, **_facts(features)},
        inputs=dict(inputs_of(videos=videos)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    embedding_NTD = np.zeros((len(wanted), T, D), np.float16)
    norms_NT = np.zeros((len(wanted), T), np.float32)
    valid = np.array([key in given for key in wanted])
    for i in np.flatnonzero(valid).tolist():
        embedding_NTD[i], norms_NT[i] = _unit(given[wanted[i]], f"{features}: {wanted[i]!r}")
    plain = [
        {
            "video_id": key,
            "frame_pts": [],
            "status": "ok" if key in given else "missing",
            "reason": None if key in given else _MISSING,
        }
        for key in wanted
    ]
    table = pa.Table.from_pylist(plain, schema=_plain_schema("frame_embeddings"))
    table = append_tensor(table, "feature_norms", norms_NT, valid)
    table = append_tensor(table, "embedding", embedding_NTD, valid)
    counts = {"ok": len(given), "missing": len(wanted) - len(given)}
    report = {"videos": counts, "num_frames": T, "unknown_ids": len(rows) - len(given)}
    return Outcome(store.publish(provenance, table, report), made=True)


def register_texts(
    store: Store, classes: Artifact, texts: Path, clip: dict[str, str], logit_scale: float = 100.0
) -> Outcome:
    """Make `text_embeddings` of a dataset's classes from features.

    Args:
        store: where to publish.
        classes: the dataset's classes.
        texts: a file as for `register_features`, of rows (D,) under `class_id` or `name`; in a .npz
            of one array per class its id or its name.
        clip: identity of the encoder.
        logit_scale: the encoder's factor on cosines.

    Raises:
        ValueError: as for `register_features`, or a class without features.
    """
    corpus = classes.manifest.name
    rows = _read(texts, "class_id", "name")
    provenance = Provenance(
        kind="text_embeddings",
        name=corpus,
        config={"clip": clip, "corpus": corpus, "logit_scale": logit_scale, **_facts(texts)},
        inputs=dict(inputs_of(classes=classes)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    plain, vectors = [], []
    for row in classes.read(["class_id", "name"]).to_pylist():
        found_rows = [rows[key] for key in (str(row["class_id"]), row["name"]) if key in rows]
        if not found_rows:
            raise ValueError(
                f"{texts} has no features of class {row['class_id']} ({row['name']!r}) of "
                f"{classes.ref}; its rows are like {next(iter(rows), 'none')!r}"
            )
        unit, norm = _unit(np.atleast_2d(found_rows[0]), f"{texts}: {row['name']!r}")
        if len(unit) != 1:
            raise ValueError(f"{texts}: {row['name']!r} has {len(unit)} rows, a text must have one")
        vectors.append(unit[0])
        plain.append(
            {
                "text_id": f"{corpus}/{row['class_id']}/prompt",
                "corpus": corpus,
                "class_id": row["class_id"],
                "source": "prompt",
                "name": row["name"],
                "text": row["name"],
                "feature_norm": float(norm[0]),
            }
        )
    _one_shape({row["name"]: v[None] for row, v in zip(plain, vectors, strict=True)}, texts)
    table = pa.Table.from_pylist(plain, schema=_plain_schema("text_embeddings"))
    table = append_tensor(table, "embedding", np.stack(vectors))
    report = {"texts": {"prompt": len(plain)}, "unknown_rows": len(rows) - len(plain)}
    facts = {"logit_scale": logit_scale}
    return Outcome(store.publish(provenance, table, report, facts), made=True)


def _facts(path: Path) -> dict[str, Any]:
    """What tells an artifact from those of another file."""
    return {"features_sha256": file_sha256(path)}


def _read(path: Path, *keys: str) -> dict[str, Floats]:
    """Rows of a file by the first of the keys that it has, as text."""
    if not path.is_file():
        raise ValueError(f"feature file {path} does not exist")
    rows: dict[str, Floats] = {}
    for key, row in _npz(path, keys) if path.suffix == ".npz" else _parquet(path, keys):
        if key in rows:
            raise ValueError(f"{path}: {key!r} comes twice")
        rows[key] = row
    return rows


def _npz(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, Floats]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a .npz of plain arrays ({error})") from error
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        for name, array in arrays.items():
            yield name, _floats(array, f"{path}: {name!r}")
        return
    if "features" not in arrays or len(arrays["features"]) != len(arrays[key]):
        raise ValueError(f"{path} has {key!r}, so it must have as many rows of 'features'")
    features = _floats(arrays["features"], str(path))
    yield from zip(map(str, arrays[key].tolist()), features, strict=True)


def _parquet(path: Path, keys: tuple[str, ...]) -> Iterator[tuple[str, Floats]]:
    if path.suffix != ".parquet":
        raise ValueError(f"{path}: features are read from .npz and .parquet files")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file ({error})") from error
    key = next((key for key in keys if key in table.column_names), None)
    column = next((name for name in ("features", "embedding") if name in table.column_names), None)
    if key is None or column is None:
        raise ValueError(
            f"{path} has columns {', '.join(table.column_names)}; it needs {' or '.join(keys)}, "
            "and features or embedding"
        )
    if b"shape" in (table.field(column).metadata or {}):
        features: Any = read_tensor(table, column)
    else:
        features = table[column].to_pylist()
    for name, row in zip(table[key].to_pylist(), features, strict=True):
        if row is not None:
            yield str(name), _floats(row, f"{path}: {name!r}")


def _floats(values: Any, where: str) -> Floats:
    try:
        return np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: features are not rows of numbers ({error})") from error


def _one_shape(given: dict[str, Floats], path: Path) -> tuple[int, int]:
    """(T, D), which all have."""
    first, expected = next((key, row.shape) for key, row in given.items())
    for key, row in given.items():
        if row.ndim != 2 or row.shape != expected or not row.size:
            raise ValueError(
                f"{path}: {key!r} has features of shape {row.shape}, {first!r} of {expected}; all "
                "need equally many frames (T, D)"
            )
    return int(expected[0]), int(expected[1])


def _unit(rows_TD: Floats, where: str) -> tuple[Floats, Floats]:
    """Unit rows and their lengths."""
    norms_T = np.linalg.norm(rows_TD, axis=-1)
    if not np.isfinite(norms_T).all():
        raise ValueError(f"{where} holds a value that is not finite")
    if not norms_T.all():
        raise ValueError(f"{where} holds a row of zeros, which has no direction")
    return rows_TD / norms_T[:, None], norms_T


def _plain_schema(kind: str) -> pa.Schema:
    columns = [column for column in schema_of(kind).columns if not column.is_tensor]
    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])
