"""Class names in many prompt templates to `text_embeddings`, with frozen CLIP."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from knowledge.clip.lazy import LazyClip


def template_embeddings(
    store: Store, clip: LazyClip, classes: Artifact, templates: Sequence[str]
) -> Outcome:
    """Embed every class name in every template.

    The artifact is named CLASSES-templates, so that nobody who looks for the classes' one prompt
    finds it; the text of template N (from 0) has the id CORPUS/CLASS/prompt/N.

    Raises:
        ValueError: a template without {label}, no or equal templates, or a text too long for CLIP.
    """
    if not templates or len(set(templates)) != len(templates):
        raise ValueError(f"prompt templates {list(templates)} must be one or more different ones")
    if wrong := [template for template in templates if "{label}" not in template]:
        raise ValueError(f"prompt template {wrong[0]!r} must contain {{label}}")
    corpus = classes.manifest.name
    provenance = Provenance(
        kind="text_embeddings",
        name=f"{corpus}-templates",
        config={"clip": clip.identity, "templates": list(templates), "corpus": corpus},
        inputs=dict(inputs_of(classes=classes)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    rows = [
        {
            "text_id": f"{corpus}/{row['class_id']}/prompt/{number}",
            "corpus": corpus,
            "class_id": row["class_id"],
            "source": "prompt",
            "name": row["name"],
            "text": template.replace("{label}", row["prompt_name"]),
        }
        for row in classes.read(["class_id", "name", "prompt_name"]).to_pylist()
        for number, template in enumerate(templates)
    ]
    from knowledge.clip.model import encode_texts

    units_MD, norms_M = encode_texts(clip.clip, [row["text"] for row in rows])
    for row, norm in zip(rows, norms_M.tolist(), strict=True):
        row["feature_norm"] = norm
    columns = [each for each in schema_of("text_embeddings").columns if not each.is_tensor]
    schema = pa.schema([pa.field(each.name, each.type, each.nullable) for each in columns])
    table = append_tensor(pa.Table.from_pylist(rows, schema=schema), "embedding", units_MD.numpy())
    report, facts = {"texts": {"prompt": len(rows)}}, {"logit_scale": clip.clip.logit_scale}
    artifact = store.publish(provenance, table, report, facts)
    return Outcome(artifact, made=True, work={"texts_encoded": len(rows)})
