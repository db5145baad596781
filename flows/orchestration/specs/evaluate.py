"""What `evaluate`, `few-shot` and `summarise` are given."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import MinedName, RunName
from knowledge.clip.weights import ClipSpec
from training.config.episodes import EpisodesConfig
from training.config.runtime import RuntimeOptions


class EvaluateSpec(Frozen):
    """Which run to score on what."""

    run: RunName
    """NAME (the newest) or NAME@KEY of a `training_run`."""
    data: MinedName | None = None
    """Mined dataset, or a registered one for a run that takes videos; the run's own when None."""
    split: str | None = None
    """Split to score; test, val or train, whichever exists first, when None."""
    views: str | None = None
    """Clips x crops, such as 4x3; the run's own when None."""
    wise_ft: tuple[float, ...] | None = None
    """WiSE-FT: shares of the trained weights, in [0, 1], the rest being frozen CLIP's; each is
    scored beside the run. When None, 0.5 on other classes than the run's own."""
    videos: Path | None = None
    """Directory the videos are in, for a run that takes videos."""
    clip: ClipSpec | None = None
    """The run's CLIP, for a run that takes videos or has trained texts; the bundled one if it is
    that."""
    runtime: RuntimeOptions = RuntimeOptions()


class FewShotSpec(Frozen):
    """Which run to score on which episodes."""

    run: RunName
    """NAME (the newest) or NAME@KEY of a `training_run`."""
    data: MinedName | None = None
    """Mined dataset, or a registered one for a run that takes videos; the run's own when None."""
    episodes: EpisodesConfig = EpisodesConfig()
    videos: Path | None = None
    """Directory the videos are in, for a run that takes videos."""
    clip: ClipSpec | None = None
    """The run's CLIP, for a run that takes videos or has trained texts; the bundled one if it is
    that."""
    runtime: RuntimeOptions = RuntimeOptions()


Refs = dict[str, tuple[str, ...]]
"""By variant, NAME (the newest) or NAME@KEY of `metrics`, one per split, draw or seed."""


class SummariseSpec(Frozen):
    """What to put into the table: `of`, or `base` and `novel`."""

    name: str
    """Name of the `comparison`."""
    of: Refs = Field(default_factory=dict)
    base: Refs = Field(default_factory=dict)
    """Scores on base classes of runs that were trained on them."""
    novel: Refs = Field(default_factory=dict)
    """Those of the same runs, in the same order, on novel classes."""
