"""What a trained model's clip embeddings are worth with a few videos per class, and CLIP's beside.

Every video that an episode holds is embedded once; the episodes are then one batched operation:
10 000 5-way 1-shot episodes of 2 730 embedded videos take 0.3 s of one core, 5-shot ones 0.9 s
(`python tests/benchmarks/few_shot.py`).

Legend: B videos, T frames, V videos of the episodes, D embedding, E episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F

from artifacts.artifact import Artifact, Outcome
from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from training.config.method_code import CODE, method_code
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.class_list import read_class_list
from training.data.inputs import TrainInputs
from training.data.video_set import check_share
from training.evaluation.episodes import Episodes, read_episodes
from training.evaluation.evaluate import load_run, read_passes
from training.evaluation.nearest_class_mean import measure, nearest_class_mean
from training.evaluation.scoring import Pass, outputs
from training.models.build import default_device
from training.models.method import Classifier, mean_of_unit_frames

CLASSIFIER = "nearest_class_mean"
"""First part of the protocols' names."""
FROZEN = f"{CLASSIFIER}/frozen_clip"
"""Protocol of frozen CLIP."""
SAME = 1e-5
"""Unit embeddings whose entries differ by no more are the same ones."""


@dataclass(frozen=True)
class Measured:
    """What was found under one protocol."""

    protocol: str
    metrics: dict[str, float]
    num_episodes: int
    num_queries: int


def evaluate_few_shot(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    episodes: Artifact,
    name: str | None = None,
    progress: Progress | None = None,
    runtime: RuntimeOptions | None = None,
) -> Outcome:
    """Score a run on episodes by the nearest class mean of clip embeddings.

    Protocols: `nearest_class_mean/METHOD` with `Method.embed_clips`, and
    `nearest_class_mean/frozen_clip` with the mean of frozen CLIP's unit frames, which needs
    `inputs.frames` where the image tower was trained. Of several views of a video the unit
    embeddings are averaged. A run that embeds as frozen CLIP does, as where only a classifier is
    learnt, has no number of its own: only frozen CLIP's protocol is there, and the report says so.
    An episode with a video that cannot be read is left out and counted.

    Few-shot recognition is of classes the run was not trained on. Whether it was is not checked,
    as the question makes sense for other classes, too; the report says how many of the episodes'
    classes, by name, have training videos in the run's own dataset; null where the store lacks it.

    Args:
        store: where to look and publish.
        run: the `training_run`.
        inputs: as for `evaluate`.
        episodes: drawn from `inputs.videos`.
        name: of the artifact; that of the run and of the episodes when None.
        progress: called with videos embedded and in total, over all passes.
        runtime: device and workers, of one process; not part of the key.

    Returns:
        `metrics`: `accuracy` and `ci95` by protocol, over `num_videos` queries.

    Raises:
        ValueError: inputs that do not belong together or to the run, episodes of other videos, or
            more unreadable videos than the run's config allows.
    """
    runtime = runtime or RuntimeOptions()
    saved, config = load_run(run, inputs)
    if episodes.manifest.inputs["videos"].content_hash != inputs.videos.manifest.content_hash:
        raise ValueError(
            f"{episodes.ref} was drawn from {episodes.manifest.inputs['videos'].ref}, not from "
            f"{inputs.videos.ref}; run `actionlore few-shot` with that dataset"
        )
    split: str = episodes.manifest.config["split"]
    read = {"videos": inputs.videos, "classes": inputs.classes, "frames": inputs.frames}
    provenance = Provenance(
        kind="metrics",
        name=name or f"{run.manifest.name}-{episodes.manifest.name}",
        config={
            "split": split,
            "classifier": CLASSIFIER,
            CODE: method_code(config.model.name),
        },
        inputs=dict(inputs_of(run=run, episodes=episodes, **read)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    device = torch.device(runtime.device) if runtime.device else default_device()
    classes = read_class_list(inputs, config)
    passes = read_passes(
        *(inputs, config, saved, split, classes, device, runtime.workers),
        own=lambda method: {f"{CLASSIFIER}/{config.model.name}": _unit(method.embed_clips)},
        frozen={FROZEN: _unit(mean_of_unit_frames)},
    )
    drawn = read_episodes(episodes)
    measured: list[Measured] = []
    for number, each in enumerate(passes):

        def told(done: int, total: int, before: int = number) -> None:
            if progress:
                progress(before * total + done, len(passes) * total)

        measured += _measured(each, drawn, config, device, told)
    work = {
        "videos_scored": sum(len(_places(each, drawn)) for each in passes),
        "videos_decoded": sum(each.source.num_decoded for each in passes),
    }
    report = {
        "episodes": {each.protocol: each.num_episodes for each in measured},
        "episodes_left_out": len(drawn.support_ENS) - min(each.num_episodes for each in measured),
        "classes_trained_on": _num_trained_on(run, inputs, drawn),
        "embeds_as_frozen_clip": all(each.protocol == FROZEN for each in measured),
        "videos_unreadable": {
            video_id: why for each in passes for video_id, why in each.source.unreadable.items()
        },
    }
    artifact = store.publish(provenance, _table(split, measured), report)
    return Outcome(artifact, made=True, work=work)


def _table(split: str, measured: Sequence[Measured]) -> pa.Table:
    rows = [
        {
            "split": split,
            "protocol": each.protocol,
            "metric": metric,
            "value": value,
            "num_videos": each.num_queries,
        }
        for each in measured
        for metric, value in each.metrics.items()
    ]
    return pa.Table.from_pylist(rows, schema=schema_of("metrics").arrow())


def _measured(
    each: Pass, drawn: Episodes, config: RunConfig, device: torch.device, progress: Progress
) -> Iterator[Measured]:
    """Metrics of the episodes all of whose videos could be read."""
    embeddings, seen_V = _embedded(each, drawn, config, device, progress)
    where = f"episodes of split {each.videos.split!r}"
    check_share(int((~seen_V).sum()), len(seen_V), config, where)
    complete_E = seen_V[drawn.support_ENS].all((1, 2)) & seen_V[drawn.query_ENQ].all((1, 2))
    if not complete_E.any():
        raise ValueError(
            f"{where}: each of the {len(complete_E)} has a video that cannot be read; see their "
            "reasons, or draw more episodes"
        )
    support_ENS, query_ENQ = drawn.support_ENS[complete_E], drawn.query_ENQ[complete_E]
    frozen_VD = embeddings.get(FROZEN)
    for protocol, embeddings_VD in embeddings.items():
        if protocol != FROZEN and frozen_VD is not None and _are_same(embeddings_VD, frozen_VD):
            continue
        hits_ENQ = nearest_class_mean(embeddings_VD, support_ENS, query_ENQ)
        yield Measured(protocol, measure(hits_ENQ), len(hits_ENQ), hits_ENQ.numel())


def _are_same(one_VD: torch.Tensor, other_VD: torch.Tensor) -> bool:
    same_shape = one_VD.shape == other_VD.shape
    return same_shape and torch.allclose(one_VD, other_VD, rtol=0, atol=SAME)


def _places(each: Pass, drawn: Episodes) -> dict[int, int]:
    """For each usable video of the episodes its index in the split: its position in them."""
    place = {video_id: v for v, video_id in enumerate(drawn.video_ids)}
    ids = enumerate(each.videos.video_ids)
    return {i: place[video_id] for i, video_id in ids if video_id in place}


def _embedded(
    each: Pass, drawn: Episodes, config: RunConfig, device: torch.device, progress: Progress
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Embeddings (V, D) by protocol, zeros for a video that cannot be read, and which were (V,)."""
    place, done = _places(each, drawn), 0
    found: dict[str, torch.Tensor] = {}
    seen_V = torch.zeros(len(drawn.video_ids), dtype=torch.bool)
    wanted = np.array(list(place), np.int64)
    for index_B, by_protocol in outputs(each, wanted, config.eval.videos_per_pass, device):
        rows_B = torch.tensor([place[i] for i in index_B.tolist()])
        seen_V[rows_B] = True
        for protocol, embeddings_BD in by_protocol.items():
            empty_VD = embeddings_BD.new_zeros(len(seen_V), embeddings_BD.shape[1])
            found.setdefault(protocol, empty_VD)[rows_B] = embeddings_BD
        done += len(index_B)
        progress(done, len(place))
    return found, seen_V


def _num_trained_on(run: Artifact, inputs: TrainInputs, drawn: Episodes) -> int | None:
    """Classes of the episodes that have training videos in the run's dataset, by name.

    Ids tell nothing here: two datasets may number their classes differently.
    """
    origin, of = run.manifest.inputs, run.store
    try:
        videos, classes = (of.get(origin[role].ref) for role in ("videos", "classes"))
    except ValueError:
        return None
    rows = videos.read(["split", "class_ids"]).to_pylist()
    trained = {c for row in rows if row["split"] == "train" for c in row["class_ids"]}
    drawn_from = set(drawn.class_ids_EN.flatten().tolist())
    return len(_names(classes, trained) & _names(inputs.classes, drawn_from))


def _names(classes: Artifact, class_ids: set[int]) -> set[str]:
    rows = classes.read(["class_id", "name"]).to_pylist()
    return {row["name"] for row in rows if row["class_id"] in class_ids}


def _unit(embed: Classifier) -> Classifier:
    return lambda features: F.normalize(embed(features), dim=-1)
