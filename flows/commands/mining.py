"""Commands about hard negatives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import app, guarded, run_flow
from flows.commands.build import (
    corpus_texts,
    encoding_fields,
    given_only,
    mining_config,
    names,
    optional_clip_spec,
    runner_fields,
)
from flows.commands.options import (
    AddressOption,
    ClusterWorkersOption,
    CorpusOption,
    CorpusTemplateOption,
    CorpusUnusableOption,
    DecodeLimitOption,
    DeviceOption,
    FilterOption,
    FramesOption,
    IvfOption,
    PrecisionOption,
    RunnerOption,
    ShardOption,
    StoreOption,
    TopKOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport


@app.command()
def mine(
    dataset: Annotated[str, typer.Option(help="Name of the registered dataset.")],
    videos: Annotated[Path | None, typer.Option(help="Directory the videos are in.")] = None,
    clip: Annotated[str | None, typer.Option(help="open_clip architecture.")] = None,
    clip_weights: Annotated[
        str | None, typer.Option(help="Pretrained tag, checkpoint file, or `bundled`.")
    ] = None,
    corpus: CorpusOption = "",
    corpus_template: CorpusTemplateOption = None,
    corpus_max_unusable: CorpusUnusableOption = None,
    frames: FramesOption = None,
    offset: Annotated[
        str | None, typer.Option(help="Frame of each segment: center (if omitted), start.")
    ] = None,
    top_k: TopKOption = None,
    filters: FilterOption = [],  # noqa: B006
    ivf: IvfOption = None,
    from_run: Annotated[
        str | None,
        typer.Option(help="training_run ref: mine with this trained model, not with frozen CLIP."),
    ] = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    decode_limit: DecodeLimitOption = None,
    runner: RunnerOption = None,
    address: AddressOption = None,
    num_workers: ClusterWorkersOption = None,
    shard: ShardOption = None,
    device: DeviceOption = "cpu",
    store: StoreOption = "store",
) -> None:
    """Embed videos and class texts with frozen CLIP, or a trained run, and rank hard negatives."""

    def flow() -> list[JobReport]:
        given = {
            "dataset": dataset,
            "videos": videos,
            "clip": optional_clip_spec(clip, clip_weights),
            "mining": mining_config(top_k, filters, ivf),
            "device": device,
        }
        where = runner_fields(runner, address, num_workers, shard)
        frame_options = given_only({"num_frames": frames, "offset": offset})
        texts = corpus_texts(corpus_template, corpus_max_unusable)
        encoding = encoding_fields(precision, workers, decode_limit)
        if from_run is not None:
            if frame_options or texts or corpus or encoding or where:
                raise ValueError(
                    "--corpus, --corpus-template, --corpus-max-unusable, --frames, --offset, "
                    "--precision, --workers, --decode-limit, --runner and --shard have no effect "
                    "with --from-run: texts and frames are those the run was trained on"
                )
            from flows.orchestration.specs.mine import RemineSpec
            from flows.remine_negatives import remine

            return remine(store, RemineSpec.model_validate({**given, "run": from_run}))
        if videos is None or clip is None:
            raise ValueError("give --videos, --clip and --clip-weights, or --from-run")
        from flows.mine_negatives import mine
        from flows.orchestration.specs.mine import MineSpec

        more = {"corpus": names(corpus), "corpus_texts": texts, "frames": frame_options}
        more |= {"encoding": encoding, "runner": where}
        return mine(store, MineSpec.model_validate(given | more))

    run_flow(flow, store, wanted="negatives")


@app.command("export-negatives")
def export_negatives(
    ref: Annotated[str, typer.Argument(help="negatives/NAME or negatives/NAME@KEY.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    format: Annotated[
        str, typer.Option(help="triplet, n-tuple, labeled-pair, labeled-list.")
    ] = "triplet",
    num_negatives: Annotated[
        int | None, typer.Option(help="Negatives per video; all that were mined if omitted.")
    ] = None,
    corpus: Annotated[str, typer.Option(help="Negatives of the dataset or of the union.")] = (
        "dataset"
    ),
    anchor: Annotated[str, typer.Option(help="What names a video: path, id.")] = "path",
    store: StoreOption = "store",
) -> None:
    """Write negatives as training data for sentence-transformers."""

    def write() -> None:
        from artifacts.store import Store
        from knowledge.mining.config import ExportOptions
        from knowledge.mining.export import export as export_job

        values = {
            "format": format,
            "num_negatives": num_negatives,
            "corpus": corpus,
            "anchor": anchor,
        }
        config = ExportOptions.model_validate(values)
        for line in export_job(Store(store).get(ref), output, config).lines():
            typer.echo(line)

    guarded(write)
