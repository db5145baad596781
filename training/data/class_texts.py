"""A dataset's class list with the texts that a run's model compares videos with.

Legend: K classes, P templates, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from artifacts.store import Artifact
from training.config.run import RunConfig
from training.data.batch import ClassList, read_classes, text_features
from training.data.checks import TrainInputs, wanted_templates


def read_class_list(inputs: TrainInputs, config: RunConfig) -> ClassList:
    """The classes, with features of every template where the model takes frozen ones.

    Raises:
        ValueError: a class without a prompt or template.
    """
    classes = read_classes(inputs.classes, inputs.texts)
    if not (wanted := wanted_templates(config)):
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
