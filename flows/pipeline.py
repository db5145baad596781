"""Flow `pipeline`: register -> extract -> mine -> train, each found by key where already done."""

from __future__ import annotations

from pathlib import Path

from artifacts.store import Store
from flows.extract_knowledge import extract
from flows.mine_negatives import mine
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, name_of
from flows.orchestration.resolve import classes_of
from flows.orchestration.specs.extract import ExtractSpec
from flows.orchestration.specs.mine import MineSpec
from flows.orchestration.specs.pipeline import PipelineSpec
from flows.orchestration.specs.train import TrainSpec
from flows.register_dataset import register
from flows.train_model import scored_split, train
from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import BUNDLED, checkpoint
from knowledge.embedding.config import FrameConfig, is_corpus_file
from knowledge.embedding.corpus_texts import usable_texts
from training.config.runtime import RuntimeOptions


@task
def check_task(store: str, spec: PipelineSpec) -> None:
    """Find out what is wrong with model and corpora before anything is paid for."""
    target = Store(store)
    checkpoint(spec.clip)
    clip = LazyClip(spec.clip)
    if spec.clip.weights != BUNDLED:
        _ = clip.tokens  # which may need a package
    for name in spec.corpus:
        if is_corpus_file(name):
            usable_texts(Path(name).expanduser(), spec.corpus_texts, clip.tokens)
        else:
            classes_of(target, name)


@task
def check_data_task(store: str, classes: JobReport, videos: JobReport, training: TrainSpec) -> None:
    """Find out what training would refuse in what was registered, before anything is paid for."""
    scored_split(Store(store).get(videos.ref), training.split)
    training.config.model.check_num_classes(classes.num_rows)


def mining_spec(
    spec: PipelineSpec, dataset: str, frames: FrameConfig, knowledge: dict[str, str]
) -> MineSpec:
    """What `mine` is given: all that the pipeline was told of mining, and what was made before."""
    return MineSpec(
        dataset=dataset,
        videos=spec.dataset.videos,
        clip=spec.clip,
        corpus=spec.corpus,
        corpus_texts=spec.corpus_texts,
        encoding=spec.encoding,
        knowledge=knowledge,
        frames=frames,
        mining=spec.mining,
        runner=spec.runner,
        device=spec.device,
    )


@flow(name="pipeline")
def pipeline(store: str, spec: PipelineSpec) -> list[JobReport]:
    """Run the chain; every link names its inputs by key, so nothing stale slips in.

    An exception of a later link has notes that name what the earlier ones made.
    """
    reports: list[JobReport] = []
    try:
        _run_links(store, spec, reports)
    except Exception as error:
        for each in reports:
            error.add_note(f"{'made ' if each.made else 'found'} {each.ref}")
        raise
    return reports


def _run_links(store: str, spec: PipelineSpec, reports: list[JobReport]) -> None:
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
    reports += [classes, videos]
    check_data_task(store, classes, videos, training)
    known = extract(store, ExtractSpec(classes=name_of(classes), **dict(spec.knowledge)))
    reports += known
    frames = FrameConfig(num_frames=data.num_frames, offset=data.test_offset)
    knowledge = {each.kind: each.ref for each in known}
    mined = mine(store, mining_spec(spec, name_of(videos), frames, knowledge))
    reports += mined
    reports += train(store, training.model_copy(update={"dataset": name_of(mined[-1])}))
