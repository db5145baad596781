"""Commands about trained models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import app, guarded, run_flow
from flows.commands.build import optional_clip_spec, variants
from flows.commands.options import (
    BaseOption,
    ClipWorkersOption,
    DeviceOption,
    JsonOption,
    NovelOption,
    RecipeOption,
    RunArgument,
    RunClipOption,
    RunWeightsOption,
    SetOption,
    SplitOption,
    StoreOption,
    VariantsOption,
    WiseFtOption,
)

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="Name of the mined dataset.")],
    recipe: RecipeOption = "mgdm_small",
    settings: SetOption = [],  # noqa: B006
    videos: Annotated[Path | None, typer.Option(help="For data.features=videos.")] = None,
    clip: Annotated[
        str | None,
        typer.Option(help="For data.features=videos and actionclip; the bundled one if that fits."),
    ] = None,
    clip_weights: Annotated[str | None, typer.Option(help="Of --clip.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="stickworld: the recipe's method at the scale of the demo world."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Run to start from; none: CLIP's weights; if omitted as the recipe says."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    split: SplitOption = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    processes: Annotated[int, typer.Option(help="Share each batch, one process per GPU.")] = 1,
    threads: Annotated[
        int | None,
        typer.Option(help="On the CPU; if omitted 1 for small steps on it, else all cores."),
    ] = None,
    workers: ClipWorkersOption = 0,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Directory for its curves.")] = None,
    store: StoreOption = "store",
) -> None:
    """Train a recipe on mined artifacts and score it. A stopped run goes on where it was."""

    def flow() -> list[JobReport]:
        from flows.orchestration.specs.train import TrainSpec
        from flows.train_model import train
        from training.config.runtime import RuntimeOptions
        from training.data.inputs import needs_clip

        if data not in (None, "stickworld"):
            raise ValueError(f"--data {data} is unknown; the only value is stickworld")
        spec = TrainSpec(
            dataset=dataset,
            recipe=recipe,
            data="stickworld" if data else None,
            settings=tuple(settings),
            videos=videos,
            clip=optional_clip_spec(clip, clip_weights),
            start=start,
            name=name,
            split=split,
            runtime=RuntimeOptions(
                device=device,
                processes=processes,
                threads=threads,
                workers=workers,
                compile=compiled,
                tensorboard=tensorboard,
            ),
        )
        if videos and spec.config.data.features == "cached":
            raise ValueError("--videos has no effect with data.features=cached")
        if clip and not (needs_clip(spec.config) or spec.config.model.templates()):
            raise ValueError(f"--clip has no effect: {recipe} takes the embeddings that are mined")
        return train(store, spec)

    run_flow(flow, store)


@app.command()
def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None, typer.Option(help="Mined dataset, also another one; the run's own if omitted.")
    ] = None,
    split: SplitOption = None,
    views: Annotated[
        str | None, typer.Option(help="Clips x crops of a video, e.g. 4x3; the run's if omitted.")
    ] = None,
    wise_ft: WiseFtOption = [],  # noqa: B006
    videos: Annotated[Path | None, typer.Option(help="For a run that takes videos.")] = None,
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    processes: Annotated[int, typer.Option(help="Share the videos, one process per GPU.")] = 1,
    workers: ClipWorkersOption = 0,
    store: StoreOption = "store",
) -> None:
    """Score a trained run: on its dataset, or zero-shot on another one."""

    def flow() -> list[JobReport]:
        from flows.evaluation.evaluate_run import evaluate
        from flows.orchestration.specs.evaluate import EvaluateSpec
        from training.config.runtime import RuntimeOptions

        spec = EvaluateSpec(
            run=run,
            data=data,
            split=split,
            views=views,
            wise_ft=tuple(wise_ft) or None,
            videos=videos,
            clip=optional_clip_spec(clip, clip_weights),
            runtime=RuntimeOptions(device=device, processes=processes, workers=workers),
        )
        return evaluate(store, spec)

    run_flow(flow, store)


@app.command()
def summarise(
    name: Annotated[str, typer.Argument(help="Name of the table.")],
    of: VariantsOption = [],  # noqa: B006
    base: BaseOption = [],  # noqa: B006
    novel: NovelOption = [],  # noqa: B006
    as_json: JsonOption = False,
    store: StoreOption = "store",
) -> None:
    """Mean and deviation over splits, draws or seeds; or base and novel classes."""

    def flow() -> list[JobReport]:
        from flows.evaluation.summarise import summarise
        from flows.orchestration.specs.evaluate import SummariseSpec

        spec = SummariseSpec(
            name=name,
            of=variants(of, "--of"),
            base=variants(base, "--base"),
            novel=variants(novel, "--novel"),
        )
        return summarise(store, spec)

    def show(made: Sequence[JobReport]) -> None:
        from flows.terminal.comparison import show_summary

        show_summary(store, made, as_json)

    run_flow(flow, store, show=show)


@app.command()
def predict(
    run: RunArgument,
    videos: Annotated[list[Path], typer.Argument(help="Video files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes shown per video.")] = 5,
    views: Annotated[str, typer.Option(help="Clips x crops that are averaged.")] = "1x1",
    protocol: Annotated[
        str | None, typer.Option(help="Way to classify; the one of validation if omitted.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    device: DeviceOption = "cpu",
    store: StoreOption = "store",
) -> None:
    """Name the actions in video files with a trained run."""

    def show() -> None:
        from flows.terminal.use_run import predict

        model = optional_clip_spec(clip, clip_weights)
        predict(store, run, videos, model, top, views, protocol, device, as_json)

    guarded(show)


@app.command()
def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option(help="New directory.")],
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    store: StoreOption = "store",
) -> None:
    """Write a trained run as weights that need neither store nor dataset."""

    def write() -> None:
        from flows.terminal.use_run import export

        export(store, run, output, optional_clip_spec(clip, clip_weights))

    guarded(write)


@app.command()
def recipes(
    words: Annotated[
        list[str], typer.Argument(help="Only recipes with all of these words, e.g. mgdm ucf101.")
    ] = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """List the recipes with what they should reach, those with a number first."""

    def look() -> None:
        from flows.terminal import inspect

        inspect.recipes(words, as_json)

    guarded(look)


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(help="Method whose tables: mgdm, actionclip.")],
    world: Annotated[str, typer.Option(help="stickworld")] = "stickworld",
    seeds: Annotated[int, typer.Option(help="Runs per variant.")] = 3,
    settings: SetOption = [],  # noqa: B006
    directory: Annotated[Path, typer.Option(help="Where all goes.")] = Path("store/reproduce"),
) -> None:
    """Repeat a paper's tables on the demo world, unattended."""

    def run() -> None:
        if world != "stickworld":
            raise ValueError(f"nothing to reproduce on {world!r}; there is stickworld")
        from flows.demos.reproduce import reproduce

        reproduce(directory, paper, seeds, tuple(settings))

    guarded(run)
