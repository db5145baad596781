"""Negatives as a Parquet file in the forms that sentence-transformers trains on.

Its `mine_hard_negatives` names them: `triplet` has a row per negative (anchor, positive, negative),
`n-tuple` a row per anchor and positive (anchor, positive, negative_1 ... negative_n),
`labeled-pair` a row per text (anchor, positive, label), `labeled-list` a row per anchor and
positive (anchor, list of texts `positive`, `labels`). Here the anchor is a video.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.artifact import Artifact
from artifacts.files import replacing
from knowledge.mining.config import ExportOptions

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Export:
    """What was written."""

    path: Path
    columns: tuple[str, ...]
    num_rows: int
    num_videos: int
    videos_left_out: int
    """With no negative at all or, in an n-tuple, too few."""
    videos_short: int
    """Written with fewer negatives than asked for."""

    def lines(self) -> list[str]:
        """For people."""
        rows = f"{self.num_rows} rows of {self.num_videos} videos"
        return [
            f"{self.path}: {rows}; columns {', '.join(self.columns)}",
            f"{self.videos_left_out} videos left out, {self.videos_short} with fewer negatives",
        ]


@dataclass(frozen=True, eq=False)
class _Rows:
    """One row per video and true class (P), one column per negative (n)."""

    anchor_P: pa.Array
    positive_P: pa.Array
    negatives_Pn: Ints
    """Row of `texts`; -1: none."""
    texts: pa.Array


def export(negatives: Artifact, output: Path, config: ExportOptions) -> Export:
    """Write the negatives of an artifact; a video of several classes has a row for each.

    Texts are those that were encoded, prompt template and all.

    Args:
        negatives: the artifact; its videos and texts are found through its inputs.
        output: the file, replaced if it exists, complete or not at all.
        config: form of the file.

    Raises:
        ValueError: not a negatives artifact, more negatives asked for than were mined, or no video
            that has enough of them.
    """
    if negatives.manifest.kind != "negatives":
        raise ValueError(f"{negatives.ref} is not a negatives artifact; nothing to export")
    if output.suffix != ".parquet":
        raise ValueError(f"--output {output}: the file is Parquet; let its name end in .parquet")
    top_k = negatives.manifest.config["top_k"]
    n = config.num_negatives or top_k
    if n > top_k:
        raise ValueError(
            f"{negatives.ref} holds {top_k} negatives per video, {n} are asked for; run "
            f"`actionlore mine --top-k {n}` again"
        )
    video_ids, slots_Nn, text_ids = _slots(negatives, n, config.corpus)
    found_N = (slots_Nn >= 0).sum(axis=1)
    enough_N = found_N == n if config.format == "n-tuple" else found_N > 0
    if not enough_N.any():
        most = int(found_N.max(initial=0))
        raise ValueError(
            f"{negatives.ref}: no video has {n if most else 1} negatives of corpus "
            f"{config.corpus}, the most is {most}"
            + (f"; give --num-negatives {most}" if most else "; mine with weaker filters")
        )
    chosen = video_ids.filter(pa.array(enough_N))
    rows = _rows(negatives, chosen, slots_Nn[enough_N], text_ids, config)
    table = _FORMS[config.format](rows)
    _write(table, output)
    return Export(
        path=output,
        columns=tuple(table.column_names),
        num_rows=table.num_rows,
        num_videos=len(chosen),
        videos_left_out=int((~enough_N).sum()),
        videos_short=int((found_N[enough_N] < n).sum()),
    )


def _slots(negatives: Artifact, n: int, corpus: str) -> tuple[pa.Array, Ints, pa.Array]:
    """Video ids (N); row of its text for each video and rank (N, n), -1: none; text ids."""
    ranking = "dataset_rank" if corpus == "dataset" else "rank"
    table = negatives.read(["video_id", "text_id", ranking])
    video_ids = pc.unique(table["video_id"])
    kept = pc.fill_null(pc.less_equal(table[ranking], n), False)
    table = table.filter(kept)
    text_ids = pc.unique(table["text_id"])
    slots_Nn = np.full((len(video_ids), n), -1, np.int64)
    video = pc.index_in(table["video_id"], video_ids).to_numpy()
    rank = table[ranking].to_numpy() - 1
    slots_Nn[video, rank] = pc.index_in(table["text_id"], text_ids).to_numpy()
    return video_ids, slots_Nn, text_ids


def _rows(
    negatives: Artifact,
    video_ids: pa.Array,
    slots_Nn: Ints,
    text_ids: pa.Array,
    config: ExportOptions,
) -> _Rows:
    inputs = negatives.manifest.inputs
    videos = negatives.store.get(inputs["videos"].ref).read(["video_id", "path", "class_ids"])
    videos = videos.take(pc.index_in(video_ids, videos["video_id"].combine_chunks()))
    anchor_N = videos["path" if config.anchor == "path" else "video_id"].combine_chunks()
    classes = videos["class_ids"].combine_chunks()
    video_P = pc.list_parent_indices(classes)
    prompts = negatives.store.get(inputs["texts_0"].ref).read(["class_id", "source", "text"])
    prompts = prompts.filter(pc.equal(prompts["source"], "prompt"))
    positive_P = prompts["text"].take(
        pc.index_in(classes.flatten(), prompts["class_id"].combine_chunks())
    )
    return _Rows(
        anchor_N.take(video_P),
        positive_P.combine_chunks(),
        slots_Nn[video_P.to_numpy()],
        _texts(negatives, text_ids),
    )


def _texts(negatives: Artifact, text_ids: pa.Array) -> pa.Array:
    """The texts of some ids, whichever corpus they are of."""
    inputs = negatives.manifest.inputs
    found = []
    for role in inputs:
        if role.startswith("texts_"):
            for part in negatives.store.get(inputs[role].ref).parts(["text_id", "text"]):
                found.append(part.filter(pc.is_in(part["text_id"], text_ids)))
    table = pa.concat_tables(found)
    return (
        table["text"]
        .combine_chunks()
        .take(pc.index_in(text_ids, table["text_id"].combine_chunks()))
    )


def _triplets(rows: _Rows) -> pa.Table:
    pair, slot = np.nonzero(rows.negatives_Pn >= 0)
    return pa.table(
        {
            "anchor": rows.anchor_P.take(pa.array(pair)),
            "positive": rows.positive_P.take(pa.array(pair)),
            "negative": rows.texts.take(pa.array(rows.negatives_Pn[pair, slot])),
        }
    )


def _tuples(rows: _Rows) -> pa.Table:
    columns: dict[str, Any] = {"anchor": rows.anchor_P, "positive": rows.positive_P}
    for i, text_P in enumerate(rows.negatives_Pn.T, start=1):
        columns[f"negative_{i}"] = rows.texts.take(pa.array(text_P))
    return pa.table(columns)


def _pairs(rows: _Rows) -> pa.Table:
    lists = _lists(rows)
    parent = pc.list_parent_indices(lists["positive"].combine_chunks())
    return pa.table(
        {
            "anchor": lists["anchor"].combine_chunks().take(parent),
            "positive": lists["positive"].combine_chunks().flatten(),
            "label": lists["labels"].combine_chunks().flatten(),
        }
    )


def _lists(rows: _Rows) -> pa.Table:
    P = len(rows.anchor_P)
    texts = pa.concat_arrays([rows.positive_P, rows.texts])
    index_PR = np.concatenate([np.arange(P)[:, None], rows.negatives_Pn + P], axis=1)
    present_PR = np.concatenate([np.ones((P, 1), bool), rows.negatives_Pn >= 0], axis=1)
    offsets = pa.array(np.concatenate([[0], present_PR.sum(axis=1).cumsum()]), pa.int32())
    labels = np.broadcast_to(np.arange(index_PR.shape[1]) == 0, index_PR.shape)[present_PR]
    return pa.table(
        {
            "anchor": rows.anchor_P,
            "positive": pa.ListArray.from_arrays(
                offsets, texts.take(pa.array(index_PR[present_PR]))
            ),
            "labels": pa.ListArray.from_arrays(offsets, pa.array(labels.astype(np.int64))),
        }
    )


_FORMS = {
    "triplet": _triplets,
    "n-tuple": _tuples,
    "labeled-pair": _pairs,
    "labeled-list": _lists,
}


def _write(table: pa.Table, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as path:
        pq.write_table(table, path, compression="zstd")
