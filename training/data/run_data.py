"""What a training run reads, joined by id.

Legend: N videos, K classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch

from training.config.run import RunConfig
from training.data.batch import Joined
from training.data.class_list import ClassList, read_class_list
from training.data.inputs import TrainInputs
from training.data.sources import CachedClips
from training.data.video_set import VideoSet, check_share

Join = Callable[[RunConfig, TrainInputs, VideoSet, ClassList], tuple[Joined, ...]]
"""What a method joins to the videos of a split, see `training.models.method.Method.joined`."""


@dataclass(frozen=True, eq=False)
class TrainData:
    """What a run reads."""

    classes: ClassList
    videos: VideoSet
    joined: tuple[Joined, ...]
    """What the method reads for each training video."""
    val: VideoSet | None
    """None where the dataset has no `val` split."""
    cached: CachedClips | None
    val_joined: tuple[Joined, ...] = ()
    """What a method made in one pass reads for each validation video, which it encodes too."""


def read_data(inputs: TrainInputs, config: RunConfig, join: Join) -> TrainData:
    """Read and join everything but pictures, before any model is built.

    Raises:
        ValueError: as for `trainer.train`, where the inputs are to blame.
    """
    cached = None
    if config.data.features == "cached":
        assert inputs.frames is not None
        cached = CachedClips(inputs.frames)
    classes = read_class_list(inputs, config)
    videos = read_videos(inputs, config, "train", cached, training=True)
    joined = join(config, inputs, videos, classes)
    splits = inputs.videos.read(["split"])["split"].unique().to_pylist()
    if config.model.chosen_on_val and "val" not in splits:
        raise ValueError(
            f"{config.model.chosen_on_val[0]}=val is chosen on validation videos, and "
            f"{inputs.videos.ref} has no split 'val'; set it to a number, or register the dataset "
            "with such a split"
        )
    val = None
    if config.eval.every and ("val" in splits or config.eval.select):
        val = read_videos(inputs, config, "val", cached)
    val_joined: tuple[Joined, ...] = ()
    if val is not None and config.model.is_fitted:
        val_joined = join(config, inputs, val, classes)
    return TrainData(classes, videos, joined, val, cached, val_joined)


def read_videos(
    inputs: TrainInputs,
    config: RunConfig,
    split: str,
    cached: CachedClips | None,
    training: bool = False,
) -> VideoSet:
    """The videos of a split; those without frames are left out and counted by status.

    Args:
        inputs: the artifacts.
        config: of the run.
        split: train, val or test.
        cached: the frame embeddings; None: clips come from videos.
        training: whether they are trained on, which is where `data.shots` counts.

    Raises:
        ValueError: no video in the split, a video with other than one class where the model wants
            that, or with an unknown one, a video that the frame embeddings lack, more unusable
            videos than the config allows, or a class with fewer videos than shots.
    """
    columns = ["video_id", "path", "split", "class_ids", "status", "fingerprint"]
    table = inputs.videos.read(columns)
    rows = table.filter(pc.equal(table["split"], split)).to_pylist()
    if not rows:
        there = sorted(set(table["split"].to_pylist()))
        raise ValueError(
            f"{inputs.videos.ref} has no video in split {split!r}; "
            f"it has {', '.join(there) or 'none at all'}"
        )
    known = sorted(inputs.classes.read(["class_id"])["class_id"].to_pylist())
    several = config.model.several_labels
    kept, skipped = [], Counter[str]()
    for row in sorted(rows, key=lambda row: row["video_id"]):
        _check_row(row, set(known), inputs, several, config)
        status = row["status"] if cached is None else _cached_status(row, cached, inputs)
        if status == "ok":
            kept.append(row)
        else:
            skipped[status] += 1
    check_share(skipped.total(), len(rows), config, f"split {split!r} of {inputs.videos.ref}")
    num_usable = len(kept)
    if config.data.shots and training:
        kept = few_shots(kept, known, config, f"split {split!r} of {inputs.videos.ref}")
    labels_NK = None
    if several:
        labels_NK = torch.tensor([[c in row["class_ids"] for c in known] for row in kept])
    return VideoSet(
        split=split,
        video_ids=tuple(row["video_id"] for row in kept),
        paths=tuple(row["path"] for row in kept),
        class_ids_N=torch.tensor([(*row["class_ids"], -1)[0] for row in kept], dtype=torch.long),
        skipped=skipped,
        num_not_drawn=num_usable - len(kept),
        labels_NK=labels_NK,
        fingerprints=tuple(row["fingerprint"] for row in kept),
    )


def few_shots(
    rows: Sequence[dict[str, Any]], class_ids: Sequence[int], config: RunConfig, where: str
) -> list[dict[str, Any]]:
    """`data.shots` videos of each class, drawn by the seed; the first K of a fixed random order.

    Args:
        rows: usable videos of one class each, by rising id.
        class_ids: all classes.
        config: shots and seed.
        where: for the error message.

    Raises:
        ValueError: a class has fewer videos.
    """
    shots, chosen = config.data.shots, list[dict[str, Any]]()
    of_class: dict[int, list[dict[str, Any]]] = {class_id: [] for class_id in class_ids}
    for row in rows:
        of_class[row["class_ids"][0]].append(row)
    for class_id, members in of_class.items():
        if len(members) < (shots or 0):
            raise ValueError(
                f"{where} has {len(members)} usable videos of class {class_id}, fewer than "
                f"data.shots={shots}; set data.shots={len(members)} or less"
            )
        order = np.random.default_rng([config.seed, class_id]).permutation(len(members))
        chosen += [members[i] for i in order[:shots].tolist()]
    return sorted(chosen, key=lambda row: str(row["video_id"]))


def _check_row(
    row: dict[str, Any], known: set[int], inputs: TrainInputs, several: bool, config: RunConfig
) -> None:
    class_ids = row["class_ids"]
    if len(class_ids) != 1 and not several:
        raise ValueError(
            f"{inputs.videos.ref}: video {row['video_id']!r} has {len(class_ids)} classes, but the "
            "model needs exactly one; register the dataset with one class per video, or "
            + (config.model.without("single_label") or "train a method for several")
        )
    if unknown := [class_id for class_id in class_ids if class_id not in known]:
        raise ValueError(
            f"{inputs.videos.ref}: video {row['video_id']!r} has class {unknown[0]}, which "
            f"{inputs.classes.ref} does not hold; run `actionlore register` again"
        )


def _cached_status(row: dict[str, Any], cached: CachedClips, inputs: TrainInputs) -> str:
    if row["video_id"] not in cached.status:
        raise ValueError(
            f"{cached.ref} lacks video {row['video_id']!r} of {inputs.videos.ref}; "
            "run `actionlore mine` again"
        )
    return str(cached.status[row["video_id"]])
