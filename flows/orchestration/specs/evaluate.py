"""What `evaluate`, `few-shot` and `summarise` are given."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import MinedName, RunName, VideosName
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import FrameConfig
from training.config.episodes import EpisodesConfig
from training.config.runtime import RuntimeOptions


class RunSpec(Frozen):
    """Which run, and its CLIP."""

    run: RunName
    """Trained run: NAME (the one used last) or NAME@KEY of a `training_run`."""
    clip: ClipSpec | None = None
    """Needed by a run that takes videos or has trained texts, unless its CLIP is a bundled one."""


class PredictSpec(RunSpec):
    """Which videos a run names the actions of."""

    videos: tuple[Path, ...] = Field(min_length=1)
    """Video files."""
    num_top: int = Field(5, ge=1)
    """Classes shown per video."""
    views: str = "1x1"
    """Clips x crops of a video that are averaged."""
    protocol: str | None = None
    """Way to classify; if omitted the one of validation."""
    device: str = "cpu"
    """`cpu` or `cuda`."""


class EvaluateSpec(RunSpec):
    """Which run to score on what."""

    data: MinedName | None = None
    """Mined dataset, or a registered one for a run that takes videos; if omitted the run's own."""
    split: str | None = None
    """Split to score; if omitted test, val or train, whichever exists first."""
    views: str | None = None
    """Clips x crops of a video that are averaged, such as 4x3; if omitted the run's own."""
    wise_ft: tuple[float, ...] | None = None
    """WiSE-FT: share of the trained weights, in [0, 1], the rest being frozen CLIP's; scored beside
    the run. If omitted, 0.5 on other classes than the run's own."""
    videos: Path | None = None
    """Directory the videos are in, for a run that takes videos."""
    runtime: RuntimeOptions = RuntimeOptions()
    """How it is carried out; changes nothing in what comes out."""


class FrozenSpec(Frozen):
    """What to score with frozen CLIP alone."""

    data: VideosName
    """Registered dataset: NAME (the newest) or NAME@KEY of its `videos`."""
    videos: Path
    """Directory its videos are in."""
    clip: ClipSpec
    """Frozen CLIP."""
    split: str | None = None
    """Split to score; if omitted test, val or train, whichever exists first."""
    frames: FrameConfig = FrameConfig()
    """Which frames are embedded."""
    templates: tuple[str, ...] = ()
    """Sentence with {label} for a class's name, several of which are averaged as a protocol of
    their own; without RUN."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of CLIP on frames, as in mining; without RUN."""
    runtime: RuntimeOptions = RuntimeOptions()
    """Device, and the processes that decode."""


class FewShotSpec(RunSpec):
    """Which run to score on which episodes."""

    data: MinedName | None = None
    """Mined dataset, or a registered one for a run that takes videos; if omitted the run's own."""
    episodes: EpisodesConfig = EpisodesConfig()
    """How the episodes are drawn."""
    videos: Path | None = None
    """Directory the videos are in, for a run that takes videos."""
    runtime: RuntimeOptions = RuntimeOptions()
    """How it is carried out; changes nothing in what comes out."""


Refs = dict[str, tuple[str, ...]]
"""By variant, NAME (the one used last) or NAME@KEY of `metrics`, one per split, draw or seed."""


class SummariseSpec(Frozen):
    """What to put into the table: `of`, or `base` and `novel`."""

    name: str
    """Name of the `comparison`."""
    of: Refs = Field(default_factory=dict)
    """Scores of a variant, a row of the table: NAME (the one used last) or NAME@KEY of `metrics`,
    one per split, draw or seed."""
    base: Refs = Field(default_factory=dict)
    """Scores of a variant on base classes, of runs that were trained on them."""
    novel: Refs = Field(default_factory=dict)
    """Scores of the same runs, in the same order, on novel classes."""
