"""What a training run reads, joined."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.run import RunConfig
from training.data.batch import CachedClips, ClassList, VideoSet, read_videos
from training.data.checks import TrainInputs
from training.data.class_texts import read_class_list
from training.data.negatives import Negatives, read_negatives


@dataclass(frozen=True, eq=False)
class TrainData:
    """What a run reads."""

    classes: ClassList
    videos: VideoSet
    negatives: Negatives
    val: VideoSet | None
    """None where the dataset has no `val` split."""
    cached: CachedClips | None


def read_data(inputs: TrainInputs, config: RunConfig) -> TrainData:
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
    negatives = read_negatives(inputs, config.negatives, videos, classes)
    splits = inputs.videos.read(["split"])["split"].unique().to_pylist()
    val = None
    if config.eval.every and ("val" in splits or config.eval.select):
        val = read_videos(inputs, config, "val", cached)
    return TrainData(classes, videos, negatives, val, cached)
