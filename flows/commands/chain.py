"""Commands that run the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import app, guarded, run_flow
from flows.commands.build import (
    clip_spec,
    corpus_texts,
    dataset_spec,
    encoding_fields,
    knowledge_fields,
    mining_config,
    names,
    runner_fields,
)
from flows.commands.options import (
    AddressOption,
    ArchOption,
    AskOptions,
    ClassesOption,
    ClusterWorkersOption,
    CorpusOption,
    CorpusTemplateOption,
    CorpusUnusableOption,
    DatasetOption,
    DecodeLimitOption,
    DeviceOption,
    FilterOption,
    IvfOption,
    LabelsOption,
    ListOption,
    NameOption,
    PipelineKindSetOption,
    PrecisionOption,
    RecipeOption,
    RunnerOption,
    SetOption,
    SplitNumberOption,
    SplitOption,
    StoreOption,
    TopKOption,
    VideosOption,
    WeightsOption,
    WorkersOption,
    with_ask_options,
)

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport


@app.command()
@with_ask_options
def pipeline(
    dataset: DatasetOption,
    videos: VideosOption,
    clip: ArchOption,
    clip_weights: WeightsOption,
    asked: AskOptions,
    labels: LabelsOption = None,
    lists: ListOption = [],  # noqa: B006
    classes: ClassesOption = None,
    split_number: SplitNumberOption = None,
    name: NameOption = None,
    corpus: CorpusOption = "",
    corpus_template: CorpusTemplateOption = None,
    corpus_max_unusable: CorpusUnusableOption = None,
    kind_settings: PipelineKindSetOption = [],  # noqa: B006
    top_k: TopKOption = None,
    filters: FilterOption = [],  # noqa: B006
    ivf: IvfOption = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    decode_limit: DecodeLimitOption = None,
    runner: RunnerOption = None,
    address: AddressOption = None,
    num_workers: ClusterWorkersOption = None,
    recipe: RecipeOption = "mgdm_small",
    settings: SetOption = [],  # noqa: B006
    split: SplitOption = None,
    device: DeviceOption = "cpu",
    store: StoreOption = "store",
) -> None:
    """Everything: register, extract, mine, train, score."""

    def flow() -> list[JobReport]:
        from flows.orchestration.specs.pipeline import PipelineSpec, TrainedKnowledgeSpec
        from flows.pipeline import pipeline

        knowledge = knowledge_fields(asked, kind_settings, "--kind-set")
        return pipeline(
            store,
            PipelineSpec.model_validate(
                {
                    "dataset": dataset_spec(
                        dataset, videos, labels, lists, classes, split_number, name
                    ),
                    "clip": clip_spec(clip, clip_weights),
                    "knowledge": TrainedKnowledgeSpec.model_validate(knowledge),
                    "corpus": names(corpus),
                    "corpus_texts": corpus_texts(corpus_template, corpus_max_unusable),
                    "encoding": encoding_fields(precision, workers, decode_limit),
                    "mining": mining_config(top_k, filters, ivf),
                    "runner": runner_fields(runner, address, num_workers),
                    "recipe": recipe,
                    "settings": tuple(settings),
                    "split": split,
                    "device": device,
                }
            ),
        )

    run_flow(flow, store)


@app.command()
def demo(
    directory: Annotated[Path, typer.Option(help="Where videos and artifacts go.")] = Path(
        "store/demo"
    ),
) -> None:
    """Run the whole chain offline on videos rendered here, and show the results."""

    def run() -> None:
        from flows.demos.demo import demo

        demo(directory)

    guarded(run)
