"""A dataset's class prompts and descriptions to `text_embeddings`, with frozen CLIP.

Legend: M texts, D embedding.
"""

from __future__ import annotations

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
from knowledge.embedding.config import PROMPT


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
    rows = list(_class_rows(classes, descriptions, template))
    distinct = {text: i for i, text in enumerate(dict.fromkeys(row["text"] for row in rows))}
    from knowledge.clip.model import encode_texts

    units_MD, norms_M = encode_texts(clip.clip, list(distinct))
    where = [distinct[row["text"]] for row in rows]
    for row, i in zip(rows, where, strict=True):
        row["feature_norm"] = float(norms_M[i])
    table = pa.Table.from_pylist(rows, schema=plain_schema())
    table = append_tensor(table, "embedding", units_MD.numpy()[where])
    report = {
        "texts": dict(Counter(row["source"] for row in rows)),
        "logit_scale": clip.clip.logit_scale,
    }
    artifact = store.publish(provenance, table, report)
    return Outcome(artifact, made=True, work={"texts_encoded": len(distinct)})


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
