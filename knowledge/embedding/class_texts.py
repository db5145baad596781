"""A dataset's class prompts and descriptions to `text_embeddings`, with frozen CLIP.

Legend: M texts, D embedding.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from knowledge.clip.lazy import LazyClip
from knowledge.clip.tokens import fitting
from knowledge.embedding.config import PROMPT


def text_embeddings(
    store: Store,
    clip: LazyClip,
    classes: Artifact,
    descriptions: Artifact | None = None,
    template: str = PROMPT,
) -> Outcome:
    """Embed each class's prompt and, where given, its descriptions.

    Of a description that the model would not read whole the first sentences that fit are taken; it
    is left out if not even one does. Both are counted, with a warning.

    Raises:
        ValueError: a template without {label}, or a prompt too long for the model.
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
    rows = list(_class_rows(classes, descriptions, template))
    cut = _read_whole(rows, clip)
    distinct = {text: i for i, text in enumerate(dict.fromkeys(row["text"] for row in rows))}
    from knowledge.clip.model import encode_texts

    units_MD, norms_M = encode_texts(clip.clip, list(distinct))
    where = [distinct[row["text"]] for row in rows]
    for row, i in zip(rows, where, strict=True):
        row["feature_norm"] = float(norms_M[i])
    table = pa.Table.from_pylist(rows, schema=plain_schema())
    table = append_tensor(table, "embedding", units_MD.numpy()[where])
    report = {"texts": dict(Counter(row["source"] for row in rows))} | cut
    facts = {"logit_scale": clip.clip.logit_scale}
    artifact = store.publish(provenance, table, report, facts)
    return Outcome(artifact, made=True, work={"texts_encoded": len(distinct)})


def _read_whole(rows: list[dict[str, Any]], clip: LazyClip) -> dict[str, Any]:
    """Shorten or take out the descriptions that the model would cut; what the report says of it."""
    tokens, counts = clip.tokens, Counter[str]()
    for row in [row for row in rows if row["source"] == "description"]:
        if tokens.reads_whole(row["text"]):
            continue
        row["text"] = fitting(row["text"], tokens.fits)
        counts["shortened" if row["text"] else "left_out"] += 1
    rows[:] = [row for row in rows if row["source"] != "description" or row["text"]]
    if not counts:
        return {}
    logging.getLogger(__name__).warning(
        "%s reads %d tokens: of the descriptions %d are shortened to the sentences that fit, and "
        "%d left out",
        *(clip.spec.arch, tokens.num_tokens, counts["shortened"], counts["left_out"]),
    )
    return {"descriptions_too_long": dict(counts)}


def _class_rows(
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


def plain_schema() -> pa.Schema:
    """The Arrow schema of `text_embeddings` without the embeddings."""
    columns = [each for each in schema_of("text_embeddings").columns if not each.is_tensor]
    return pa.schema([pa.field(each.name, each.type, each.nullable) for each in columns])
