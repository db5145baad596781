"""A dataset's class list with the texts that a run's model compares videos with.

Legend: K classes, P templates, M texts, D embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F

from artifacts.artifact import Artifact
from artifacts.tensors import read_tensor
from training.config.run import RunConfig
from training.data.inputs import TrainInputs


@dataclass(frozen=True, eq=False)
class ClassList:
    """The dataset's classes by rising id, with the prompt of each."""

    class_ids: tuple[int, ...]
    names: tuple[str, ...]
    prompt_names: tuple[str, ...]
    """The names as prompts spell them."""
    prompts_KD: torch.Tensor
    """CLIP features, not normalised."""
    descriptions_KD: torch.Tensor | None
    """The same for descriptions; the prompt where a class has none. None: there are none at all."""
    without_description: int
    templates_KPD: torch.Tensor | None = None
    """CLIP features of the names in each of the templates a model asks for."""

    def positions(self, class_ids_B: torch.Tensor) -> torch.Tensor:
        """Index into the list of each class id."""
        class_ids_K = torch.tensor(self.class_ids, device=class_ids_B.device)
        return torch.searchsorted(class_ids_K, class_ids_B)

    def keys(self) -> torch.Tensor:
        """(K,) int64: a number for each class that its name alone decides, unlike its id."""
        digests = (hashlib.sha256(name.encode()).digest()[:8] for name in self.names)
        return torch.tensor([int.from_bytes(each, "little", signed=True) for each in digests])


def read_classes(classes: Artifact, texts: Artifact) -> ClassList:
    """The class list with its texts.

    Raises:
        ValueError: a class without a prompt.
    """
    columns = ["class_id", "name", "prompt_name"]
    rows = sorted(classes.read(columns).to_pylist(), key=lambda row: row["class_id"])
    table = texts.read()
    features_MD = text_features(table)
    found: dict[str, dict[int, list[int]]] = {"prompt": {}, "description": {}}
    for i, row in enumerate(table.select(["source", "class_id"]).to_pylist()):
        found[row["source"]].setdefault(row["class_id"], []).append(i)
    lacking = [row for row in rows if row["class_id"] not in found["prompt"]]
    if lacking:
        raise ValueError(
            f"{texts.ref} has no prompt of class {lacking[0]['class_id']} "
            f"({lacking[0]['name']!r}); run `actionlore mine` again"
        )
    class_ids = [row["class_id"] for row in rows]
    prompts = [found["prompt"][class_id] for class_id in class_ids]
    mixed = [found["description"].get(c, p) for c, p in zip(class_ids, prompts, strict=True)]
    described = bool(found["description"])
    return ClassList(
        class_ids=tuple(class_ids),
        names=tuple(row["name"] for row in rows),
        prompt_names=tuple(row["prompt_name"] for row in rows),
        prompts_KD=ensembles(features_MD, prompts),
        descriptions_KD=ensembles(features_MD, mixed) if described else None,
        without_description=sum(c not in found["description"] for c in class_ids) * described,
    )


def ensembles(features_MD: torch.Tensor, members: Sequence[Sequence[int]]) -> torch.Tensor:
    """(K, D): per class its text's feature, or the mean of its texts' unit rows (CLIP's way)."""
    return torch.stack(
        [
            features_MD[rows[0]]
            if len(rows) == 1
            else F.normalize(features_MD[rows], dim=-1).mean(dim=0)
            for rows in map(list, members)
        ]
    )


def text_features(table: pa.Table) -> torch.Tensor:
    """(M, D) float32 CLIP features of a text_embeddings table, not normalised."""
    norms = torch.from_numpy(table["feature_norm"].to_numpy().astype(np.float32))
    return torch.from_numpy(read_tensor(table, "embedding")).float() * norms[:, None]


def read_class_list(inputs: TrainInputs, config: RunConfig) -> ClassList:
    """The classes, with features of every template where the model takes frozen ones.

    Raises:
        ValueError: a class without a prompt or template.
    """
    classes = read_classes(inputs.classes, inputs.texts)
    if not (wanted := config.model.templates()):
        return classes
    assert inputs.templates is not None
    found_KPD = read_templates(inputs.templates, classes.class_ids, wanted)
    return replace(classes, templates_KPD=found_KPD)


def read_templates(
    artifact: Artifact, class_ids: Sequence[int], wanted: Sequence[str]
) -> torch.Tensor:
    """CLIP features (K, P, D) of the classes under the wanted templates, not normalised.

    Args:
        artifact: `text_embeddings` made with a list of templates, the text of template N of a class
            having the id CORPUS/CLASS/prompt/N.
        class_ids: rows of the result.
        wanted: columns of the result, templates of the artifact.

    Raises:
        ValueError: a class lacks a template.
    """
    made: list[str] = artifact.manifest.config["templates"]
    table = artifact.read()
    columns = table.select(["text_id", "class_id"]).to_pylist()
    row_of = {
        (row["class_id"], int(row["text_id"].rpartition("/")[2])): i
        for i, row in enumerate(columns)
    }
    numbers = [made.index(template) for template in wanted]
    keys = [(class_id, number) for class_id in class_ids for number in numbers]
    if lacking := [key for key in keys if key not in row_of]:
        class_id, number = lacking[0]
        raise ValueError(
            f"{artifact.ref} has no text of class {class_id} under template {made[number]!r}; "
            "run `actionlore train` with --clip to make it again"
        )
    features_ND = text_features(table)[torch.tensor([row_of[key] for key in keys])]
    return features_ND.view(len(class_ids), len(numbers), -1)
