"""What frozen CLIP is worth on a split, without any run: zero-shot predictions and metrics.

They are made by what scores runs beside it, and are those that every run of the same CLIP and
frames shows as its `zero_shot` protocols.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from artifacts.artifact import Outcome
from artifacts.jobs import Progress
from artifacts.provenance import Provenance
from artifacts.store import Store
from training.config.data import DataConfig
from training.config.method import MethodConfig
from training.config.run import RunConfig
from training.data.checks import check_inputs
from training.data.class_list import read_class_list, read_templates
from training.data.inputs import TrainInputs
from training.data.roles import ROLES
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.distributed.group import current_group
from training.evaluation.evaluate import (
    counted,
    frozen_protocols,
    measured,
    score_passes,
    table_of,
)
from training.evaluation.scored import NUM_TOP
from training.evaluation.scoring import Pass, zero_shot_classifier
from training.models.build import default_device

TEMPLATES = "zero_shot/templates"
"""The protocol of the mean over several templates."""


class FrozenClipConfig(MethodConfig):
    """No method: what the rest of evaluation asks of one."""

    name: Literal["frozen CLIP"] = "frozen CLIP"
    """In errors."""
    labels: Literal["one", "several"] = "one"
    """Classes of a video."""

    @property
    def task(self) -> str:
        """That of the labels."""
        return "multi_label" if self.labels == "several" else "single_label"


def evaluate_frozen(
    store: Store,
    inputs: TrainInputs,
    split: str,
    name: str,
    progress: Progress | None = None,
    device: str | None = None,
) -> tuple[Outcome, Outcome]:
    """Score a split with frozen CLIP alone, on its cached frames.

    Protocols: `zero_shot/prompt`; `zero_shot/description` where there are descriptions; and
    `zero_shot/templates`, the mean of unit embeddings, where the inputs have templates.

    Args:
        store: where to look and publish.
        inputs: classes, videos, texts, frames, and templates if wanted.
        split: train, val or test.
        name: of the two artifacts.
        progress: called with videos scored and in total.
        device: where cosines are computed; the first GPU, or the CPU, when None.

    Returns:
        `predictions` and `metrics`.

    Raises:
        ValueError: a split without videos, inputs that do not belong together, or too many
            unreadable videos.
    """
    config = _config(inputs, split)
    check_inputs(inputs, config, training=False)
    roles = [ROLES[each] for each in ("classes", "videos", "texts", "frames", "templates")]
    origin = Provenance(
        kind="predictions",
        name=name,
        config={"split": split, "num_top": NUM_TOP, "labels": config.model.several_labels},
        inputs=inputs.filled(roles),
    )
    if found := store.find(origin):
        return Outcome(found, made=False), measured(store, name, split, found, config)
    assert inputs.frames is not None
    group = current_group(torch.device(device) if device else default_device(), 1)
    classes, cached = read_class_list(inputs, config), CachedClips(inputs.frames)
    protocols = frozen_protocols(classes, group.device)
    if inputs.templates is not None:
        wanted = inputs.templates.manifest.config["templates"]
        texts_KPD = read_templates(inputs.templates, classes.class_ids, wanted)
        mean_KD = F.normalize(texts_KPD, dim=-1).mean(dim=1)
        protocols[TEMPLATES] = zero_shot_classifier(mean_KD, group.device)
    passes = [Pass(None, cached, read_videos(inputs, config, split, cached), protocols)]
    rows = score_passes(passes, classes, config, group, progress)
    counts = counted(passes, classes, group, chosen_on=False)
    predictions = store.publish(origin, table_of(rows), facts=counts)
    work = {"videos_scored": len(passes[0].videos)}
    outcome = Outcome(predictions, made=True, work=work)
    return outcome, measured(store, name, split, predictions, config)


def _config(inputs: TrainInputs, split: str) -> RunConfig:
    """What a run on these frames would have."""
    assert inputs.frames is not None
    made = inputs.frames.manifest.config
    data = DataConfig(num_frames=made["num_frames"], test_offset=made.get("offset", "center"))
    rows = inputs.videos.read(["split", "class_ids"]).to_pylist()
    single = all(len(row["class_ids"]) == 1 for row in rows if row["split"] == split)
    return RunConfig(data=data, model=FrozenClipConfig(labels="one" if single else "several"))
