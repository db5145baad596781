"""Commands that make videos known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import app, guarded, run_flow
from flows.commands.build import clip_spec, dataset_spec, mining_config
from flows.commands.options import (
    ClassesOption,
    DatasetOption,
    DecodeLimitOption,
    LabelsOption,
    ListOption,
    NameOption,
    SplitNumberOption,
    StoreOption,
    TopKOption,
    VideosOption,
)

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport


@app.command()
def register(
    dataset: DatasetOption,
    videos: VideosOption,
    labels: LabelsOption = None,
    lists: ListOption = [],  # noqa: B006
    classes: ClassesOption = None,
    split_number: SplitNumberOption = None,
    name: NameOption = None,
    decode_limit: DecodeLimitOption = None,
    store: StoreOption = "store",
) -> None:
    """List a dataset and probe its videos."""

    def flow() -> list[JobReport]:
        from flows.register_dataset import register

        spec = dataset_spec(dataset, videos, labels, lists, classes, split_number, name)
        return (
            register(store, spec) if decode_limit is None else register(store, spec, decode_limit)
        )

    run_flow(flow, store)


@app.command("register-features")
def register_features(
    dataset: Annotated[str, typer.Option(help="Name of the registered dataset.")],
    features: Annotated[
        Path, typer.Option(help=".npz or .parquet: (T, D) or (D,) for each video id.")
    ],
    clip: Annotated[
        str, typer.Option(help="open_clip architecture, or any name of what made them.")
    ],
    clip_weights: Annotated[
        str | None, typer.Option(help="Of --clip, where that can be loaded.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="The same for class ids or names; the model's texts if omitted."),
    ] = None,
    logit_scale: Annotated[
        float | None, typer.Option(help="With --texts: factor on cosines; 100 if omitted.")
    ] = None,
    top_k: TopKOption = None,
    store: StoreOption = "store",
) -> None:
    """Take features you already have instead of embedding videos, and mine with them."""

    def flow() -> list[JobReport]:
        from flows.orchestration.specs.features import FeaturesSpec
        from flows.register_features import register_features_flow

        spec = FeaturesSpec(
            dataset=dataset,
            features=features,
            clip=clip_spec(clip, clip_weights) if clip_weights else clip,
            texts=texts,
            logit_scale=logit_scale,
            mining=mining_config(top_k, [], None),
        )
        return register_features_flow(store, spec)

    run_flow(flow, store)


@app.command()
def world(
    directory: Annotated[Path, typer.Argument(help="Where the videos go.")],
    config: Annotated[
        list[str], typer.Option("--set", help="KEY=NUMBER, e.g. train_per_class=8")
    ] = [],  # noqa: B006
) -> None:
    """Render the demo world's videos."""

    def render() -> None:
        from flows.orchestration.console import progress
        from knowledge.stickworld.generate import StickworldConfig, generate

        values = dict(item.partition("=")[::2] for item in config)
        with progress("rendering and encoding videos") as advance:
            spec = StickworldConfig.model_validate(values)
            generate(directory, spec, os.cpu_count() or 1, advance)
        typer.echo(f"the demo world is in {directory}")

    guarded(render)
