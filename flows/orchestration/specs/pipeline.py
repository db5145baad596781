"""What `pipeline` is given."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from flows.orchestration.specs.extract import KnowledgeSpec
from flows.orchestration.specs.mine import check_corpus_texts
from flows.orchestration.specs.runner import RunnerSpec
from knowledge.clip.weights import ClipSpec
from knowledge.datasets.spec import DatasetSpec
from knowledge.embedding.config import CorpusConfig, EncodingOptions
from knowledge.mining.config import MiningConfig

TRAINED_KINDS = ("cooccurrence", "description")
"""Kinds of knowledge that mining and training use."""


class TrainedKnowledgeSpec(KnowledgeSpec):
    """What to ask for where training follows."""

    kinds: tuple[str, ...] = Field(TRAINED_KINDS, min_length=1)
    """Kinds of knowledge to ask for; if omitted those that training uses."""


class PipelineSpec(Frozen):
    """The whole chain for one dataset and one recipe."""

    dataset: DatasetSpec
    """Which dataset."""
    clip: ClipSpec
    """Frozen CLIP that embeds, and that training starts from."""
    knowledge: TrainedKnowledgeSpec = TrainedKnowledgeSpec()
    """What to ask for, whom and how."""
    corpus: tuple[str, ...] = ()
    """Where to take negatives from beside the dataset's own classes: class lists, or files of texts
    (.txt, .csv, .parquet)."""
    corpus_texts: CorpusConfig = CorpusConfig()
    """How the texts of such files are encoded."""
    encoding: EncodingOptions = EncodingOptions()
    """How videos are decoded and encoded."""
    mining: MiningConfig = MiningConfig()
    """Which candidates are kept as negatives."""
    runner: RunnerSpec = RunnerSpec()
    """Where videos are embedded and mined."""
    recipe: str = "mgdm_small"
    """Named training run, see `actionlore recipes`."""
    settings: tuple[str, ...] = ()
    """Change to the recipe, such as `model.negatives.k=3`."""
    split: str | None = None
    """Split to score; if omitted test, val or train, whichever exists first."""
    device: str = "cpu"
    """Where models run: `cpu` or `cuda`."""

    @model_validator(mode="after")
    def _all_is_mined(self) -> Self:
        check_corpus_texts(self.corpus, self.corpus_texts)
        if self.runner.shard:
            raise ValueError("a shard is no whole to train on; use it in `actionlore mine`")
        return self
