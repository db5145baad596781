"""Flow `pipeline`: register -> extract -> mine -> train, each found by key where already done."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from artifacts.store import Store
from flows.extract_knowledge import ExtractSpec, KnowledgeSpec, extract
from flows.mine_negatives import MineSpec, check_corpus_texts, mine
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, name_of
from flows.orchestration.resolve import classes_of
from flows.orchestration.runners import RunnerSpec
from flows.register_dataset import register
from flows.train_model import TrainSpec, scored_split, train
from knowledge.clip.weights import ClipSpec, checkpoint
from knowledge.datasets.listing import DatasetSpec
from knowledge.embedding.corpus_file import is_corpus_file
from knowledge.embedding.corpus_texts import CorpusConfig, usable_texts
from knowledge.embedding.engine.client import EncodingOptions
from knowledge.embedding.engine.spec import FrameConfig
from knowledge.mining.config import MiningConfig
from training.config.runtime import RuntimeOptions

TRAINED_KINDS = ("cooccurrence", "description")
"""Kinds of knowledge that mining and training use."""


class TrainedKnowledgeSpec(KnowledgeSpec):
    """What to ask for where training follows."""

    kinds: tuple[str, ...] = Field(TRAINED_KINDS, min_length=1)
    """Modules of `knowledge.extraction.kinds`; those that training uses if omitted."""


class PipelineSpec(Frozen):
    """The whole chain for one dataset and one recipe."""

    dataset: DatasetSpec
    clip: ClipSpec
    knowledge: TrainedKnowledgeSpec = TrainedKnowledgeSpec()
    """What to ask for, whom and how."""
    corpus: tuple[str, ...] = ()
    """Further class lists and files of texts to take negatives from."""
    corpus_texts: CorpusConfig = CorpusConfig()
    """How the texts of such files are encoded."""
    encoding: EncodingOptions = EncodingOptions()
    mining: MiningConfig = MiningConfig()
    runner: RunnerSpec = RunnerSpec()
    """Where videos are embedded and mined."""
    recipe: str = "mgdm_small"
    settings: tuple[str, ...] = ()
    """Changes to the recipe, such as `model.negatives.k=3`."""
    split: str | None = None
    """Split to score; test, val or train, whichever exists first, when None."""
    device: str = "cpu"

    @model_validator(mode="after")
    def _all_is_mined(self) -> Self:
        check_corpus_texts(self.corpus, self.corpus_texts)
        if self.runner.shard:
            raise ValueError("a shard is no whole to train on; use it in `actionlore mine`")
        return self


@task
def check_task(store: str, spec: PipelineSpec) -> None:
    """Find out what is wrong with model and corpora before anything is paid for."""
    target = Store(store)
    for name in spec.corpus:
        if is_corpus_file(name):
            usable_texts(Path(name).expanduser(), spec.corpus_texts)
        else:
            classes_of(target, name)
    checkpoint(spec.clip)


@task
def check_split_task(store: str, videos: str, split: str | None) -> str:
    """The split that will be scored, if it has videos."""
    return scored_split(Store(store).get(videos), split)


@flow(name="pipeline")
def pipeline(store: str, spec: PipelineSpec) -> list[JobReport]:
    """Run the chain; every link names its inputs by key, so nothing stale slips in."""
    training = TrainSpec(
        dataset=spec.dataset.artifact_name,
        recipe=spec.recipe,
        settings=spec.settings,
        videos=spec.dataset.videos,
        clip=spec.clip,
        split=spec.split,
        runtime=RuntimeOptions(device=spec.device),
    )
    data = training.config.data
    check_task(store, spec)
    classes, videos = register(store, spec.dataset, spec.encoding.deadline_s)
    check_split_task(store, videos.ref, spec.split)
    known = extract(store, ExtractSpec(classes=name_of(classes), **dict(spec.knowledge)))
    mining = MineSpec(
        dataset=name_of(videos),
        videos=spec.dataset.videos,
        clip=spec.clip,
        corpus=spec.corpus,
        corpus_texts=spec.corpus_texts,
        encoding=spec.encoding,
        knowledge={each.kind: each.ref for each in known},
        frames=FrameConfig(num_frames=data.num_frames, offset=data.test_offset),
        mining=spec.mining,
        runner=spec.runner,
        device=spec.device,
    )
    mined = mine(store, mining)
    trained = train(store, training.model_copy(update={"dataset": name_of(mined[-1])}))
    return [classes, videos, *known, *mined, *trained]
