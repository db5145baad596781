"""The texts of a file to `text_embeddings`, with frozen CLIP: candidates beyond the classes."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.artifact import Outcome
from artifacts.jobs import Progress
from artifacts.provenance import Provenance
from artifacts.store import Store
from artifacts.tensors import append_tensor
from knowledge.clip.lazy import LazyClip
from knowledge.clip.tokens import Tokens
from knowledge.embedding.class_texts import plain_schema
from knowledge.embedding.config import CorpusConfig, Precision, resolve_precision
from knowledge.embedding.corpus_file import (
    CorpusTexts,
    corpus_name,
    corpus_sha256,
    read_corpus_file,
)

if TYPE_CHECKING:
    from knowledge.embedding.engine.text_encoder import TextEncoder

TEXTS_PER_PART = 8192
"""Texts of a file per Parquet part; a crash loses at most one unfinished part."""


def corpus_embeddings(
    store: Store,
    clip: LazyClip,
    path: Path,
    config: CorpusConfig | None = None,
    progress: Progress | None = None,
    precision: Literal["auto"] | Precision = "auto",
    texts_per_part: int = TEXTS_PER_PART,
) -> Outcome:
    """Embed the distinct texts of a file, part by part; finished parts survive a crash.

    The key holds the SHA-256 of the file's content, not its place.

    Args:
        store: where to publish.
        clip: the model.
        path: see `knowledge.embedding.corpus_file`.
        config: the defaults when None.
        progress: called with texts done and in total.
        precision: as in `EncodingOptions`; the texts of classes are always encoded in fp32.
        texts_per_part: texts per Parquet part.

    Raises:
        ValueError: the file cannot be used, or too many of its rows cannot.
    """
    config = config or CorpusConfig()
    name = corpus_name(path)
    precision = resolve_precision(precision, clip.spec, clip.device)
    provenance = Provenance(
        kind="text_embeddings",
        name=name,
        config={
            "clip": clip.identity,
            "corpus": name,
            "file_sha256": corpus_sha256(path),
            "precision": precision,
            **({"format": "csv"} if path.suffix.lower() == ".csv" else {}),  # else lines of text
            **config.model_dump(),
        },
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    started = time.monotonic()
    texts = usable_texts(path, config, clip.tokens)
    total, encoded = texts.table.num_rows, 0
    encoder = None
    from knowledge.embedding.engine.text_encoder import TextEncoder

    with closing(store.draft(provenance)) as draft:
        for part, start in enumerate(range(0, total, texts_per_part)):
            if not draft.has(part):
                encoder = encoder or TextEncoder(clip.clip, precision)
                chunk = texts.table.slice(start, texts_per_part)
                draft.write(_corpus_part(encoder, name, chunk, config.template), part)
                encoded += chunk.num_rows
            if progress:
                progress(min(start + texts_per_part, total), total)
        report = {
            "texts": {"text": total},
            "rows": texts.num_rows,
            "left_out": texts.left_out,
            "duration_s": round(time.monotonic() - started, 3),
        }
        artifact = draft.publish(report, {"logit_scale": clip.clip.logit_scale})
    return Outcome(artifact, made=True, work={"texts_encoded": encoded})


def usable_texts(path: Path, config: CorpusConfig, tokens: Tokens) -> CorpusTexts:
    """The texts of a file that a model can take; nothing is encoded for that.

    Raises:
        ValueError: the file cannot be used, or too many of its rows cannot.
    """
    texts = read_corpus_file(path)
    fits = [
        tokens.reads_whole(config.template.replace("{label}", text))
        for text in texts.table["text"].to_pylist()
    ]
    table = texts.table.filter(pa.array(fits, pa.bool_()))
    if not table.num_rows:
        raise ValueError(f"corpus file {path}: no text fits into CLIP's {tokens.num_tokens} tokens")
    too_long = texts.table.num_rows - table.num_rows
    left_out = texts.left_out | ({"too long": too_long} if too_long else {})
    unusable = {why: count for why, count in left_out.items() if why != "repeated"}
    if sum(unusable.values()) > config.max_unusable * texts.num_rows:
        listed = ", ".join(f"{count} {why}" for why, count in unusable.items())
        raise ValueError(
            f"corpus file {path}: of {texts.num_rows} rows {listed}, more than "
            f"max_unusable={config.max_unusable:g} allows; mend the file, or raise the limit"
        )
    return CorpusTexts(table, texts.num_rows, left_out)


def _corpus_part(encoder: TextEncoder, corpus: str, chunk: pa.Table, template: str) -> pa.Table:
    """The rows of some texts."""
    texts = [template.replace("{label}", text) for text in chunk["text"].to_pylist()]
    units_MD, norms_M = encoder(texts)
    prefix = pa.scalar(f"{corpus}/")
    table = pa.table(
        [
            pc.binary_join_element_wise(prefix, chunk["text_id"], ""),
            pa.array([corpus] * len(texts), pa.string()),
            chunk["class_id"],
            pa.array(["text"] * len(texts), pa.string()),
            pc.coalesce(chunk["class"], chunk["text"]),
            pa.array(texts, pa.string()),
            pa.array(norms_M.astype(np.float64)),
        ],
        schema=plain_schema(),
    )
    return append_tensor(table, "embedding", units_MD)
