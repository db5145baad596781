"""What `mine` and `remine` are given."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import VideosName
from flows.orchestration.specs.runner import RunnerSpec
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import (
    PROMPT,
    CorpusConfig,
    EncodingOptions,
    FrameConfig,
    is_corpus_file,
)
from knowledge.mining.config import MiningConfig


class MineSpec(Frozen):
    """What to mine, with which model."""

    dataset: VideosName
    """Registered dataset: NAME (the one used last) or NAME@KEY of its `videos`."""
    videos: Path
    """Directory its videos are in."""
    clip: ClipSpec
    """Frozen CLIP that embeds."""
    corpus: tuple[str, ...] = ()
    """Where to take negatives from beside the dataset's own classes: class lists, or files of texts
    (.txt, .csv, .parquet)."""
    corpus_texts: CorpusConfig = CorpusConfig()
    """How the texts of such files are encoded."""
    knowledge: dict[str, str] | None = None
    """Refs of the classes' `descriptions` and `cooccurrence`, by kind, those not named being left
    out; if omitted what was used last of these classes."""
    template: str = PROMPT
    """Text that stands for a class, with {label} for its name."""
    frames: FrameConfig = FrameConfig()
    """Which frames are embedded."""
    encoding: EncodingOptions = EncodingOptions()
    """How videos are decoded and encoded."""
    mining: MiningConfig = MiningConfig()
    """Which candidates are kept as negatives."""
    device: str = "cpu"
    """Where CLIP runs: `cpu` or `cuda`."""
    runner: RunnerSpec = RunnerSpec()
    """Where videos are embedded and mined."""

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        check_corpus_texts(self.corpus, self.corpus_texts)
        return self


def check_corpus_texts(corpus: tuple[str, ...], texts: CorpusConfig) -> None:
    """Refuse settings for files of texts where there is none."""
    if texts != CorpusConfig() and not any(map(is_corpus_file, corpus)):
        raise ValueError(
            "corpus_texts (--corpus-template, --corpus-max-unusable) has no effect: no corpus is a "
            "file of texts; leave it out"
        )


class RemineSpec(Frozen):
    """What to mine, with which run."""

    dataset: VideosName
    """The run's dataset: NAME (the one used last) or NAME@KEY of its `videos`."""
    run: str
    """Trained run, NAME or ref of a `training_run`, to mine with instead of frozen CLIP; texts and
    frames are those it was trained on."""
    videos: Path | None = None
    """Directory its videos are in; needed where the run has data.features=videos."""
    clip: ClipSpec | None = None
    """Needed where the run has data.features=videos."""
    mining: MiningConfig = MiningConfig()
    """Which candidates are kept as negatives."""
    device: str = "cpu"
    """Where the run embeds: `cpu` or `cuda`."""
