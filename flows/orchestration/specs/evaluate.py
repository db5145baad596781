"""What `evaluate`, `few-shot` and `summarise` are given."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import MinedName, RunName
from knowledge.clip.weights import ClipSpec
from training.config.episodes import EpisodesConfig
from training.config.runtime import RuntimeOptions


class RunSpec(Frozen):
    """Which run, and its CLIP."""

    run: RunName
    """Trained run: NAME (the newest) or NAME@KEY of a `training_run`."""
    clip: ClipSpec | None = None
    """Needed where the run runs a tower of CLIP that is not the bundled one."""


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
    runtime: RuntimeOptions = RuntimeOptions()


class FewShotSpec(RunSpec):
    """Which run to score on which episodes."""

    data: MinedName | None = None
    """Mined dataset, or a registered one for a run that takes videos; the run's own when None."""
    episodes: EpisodesConfig = EpisodesConfig()
    videos: Path | None = None
    """Directory the videos are in, for a run that takes videos."""
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
