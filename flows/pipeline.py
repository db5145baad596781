"""Flow `pipeline`: register -> extract -> mine -> train, each found by key where already done."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict

from flows.extract_knowledge import ExtractSpec, LlmSpec, extract
from flows.mine_negatives import MineSpec, mine
from flows.register_dataset import register
from flows.steps import Step, name_of
from flows.train_model import TrainSpec, train
from knowledge.clip import ClipSpec
from knowledge.datasets.listing import DatasetSpec
from knowledge.embedding import FrameConfig
from knowledge.mining import MiningConfig


class PipelineSpec(BaseModel):
    """The whole chain for one dataset and one recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: DatasetSpec
    clip: ClipSpec
    llm: LlmSpec | None = None
    """None answers from the recorded replies that come with the package."""
    corpus: tuple[str, ...] = ()
    """Further class lists to take negatives from."""
    mining: MiningConfig = MiningConfig()
    recipe: str = "mgdm_small"
    settings: tuple[str, ...] = ()
    """Changes to the recipe, such as `model.negatives.k=3`."""
    split: str | None = None
    """Split to score; test, val or train, whichever exists first, when None."""
    device: str = "cpu"


@flow(name="pipeline")
def pipeline(store: str, spec: PipelineSpec) -> list[Step]:
    """Run the chain; every link names its inputs by key, so nothing stale slips in."""
    training = TrainSpec(
        dataset=spec.dataset.artifact_name,
        recipe=spec.recipe,
        settings=spec.settings,
        videos=spec.dataset.videos,
        clip=spec.clip,
        split=spec.split,
        device=spec.device,
    )
    data = training.config.data  # a wrong recipe or setting fails before any work
    classes, videos = register(store, spec.dataset)
    known = extract(store, ExtractSpec(classes=name_of(classes), llm=spec.llm))
    mining = MineSpec(
        dataset=name_of(videos),
        videos=spec.dataset.videos,
        clip=spec.clip,
        corpus=spec.corpus,
        frames=FrameConfig(num_frames=data.num_frames, offset=data.test_offset),
        mining=spec.mining,
        device=spec.device,
    )
    mined = mine(store, mining)
    trained = train(store, training.model_copy(update={"dataset": name_of(mined[-1])}))
    return [classes, videos, *known, *mined, *trained]
