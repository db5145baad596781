"""Commands that make videos known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.app import app, guarded, show_made
from flows.commands.command import Given, command
from flows.commands.fields import Field
from flows.commands.options import DATASET, StoreOption


@command(
    "knowledge.datasets.spec:DatasetSpec",
    {
        "Data": {
            **DATASET,
            "--decode-limit": "knowledge.embedding.config:EncodingOptions.deadline_s",
        }
    },
    panel="Data",
    example="actionlore register --dataset folder --videos VIDEOS --labels labels.csv",
)
def register(given: Given, store: StoreOption = "store") -> None:
    """List a dataset and probe its videos."""
    from knowledge.datasets.spec import DatasetSpec

    spec, deadline_s = given.build(DatasetSpec), given["--decode-limit"]
    from flows.register_dataset import register

    limits = [] if deadline_s is None else [deadline_s]
    show_made(register(store, spec, *limits), store)


@command(
    "flows.orchestration.specs.features:FeaturesSpec",
    {
        "Data": {"--dataset": "dataset", "--features": "features", "--texts": "texts"},
        "CLIP": {
            "--clip": Field("clip", form="NAME"),
            "--clip-weights": Field("knowledge.clip.weights:ClipSpec.weights", required=False),
            "--logit-scale": "logit_scale",
        },
        "Mining": {"--top-k": "mining.top_k"},
    },
    panel="Data",
    example="actionlore register-features --dataset folder --features frames.npz "
    "--clip my-encoder --texts texts.npz",
    name="register-features",
)
def register_features(given: Given, store: StoreOption = "store") -> None:
    """Take features you already have instead of embedding videos, and mine with them."""
    from flows.orchestration.specs.features import FeaturesSpec

    arch, weights = given["--clip"] or "", given["--clip-weights"]
    is_loaded = weights or arch.startswith(("local-dir:", "hf-hub:"))
    loaded = {"clip": {"arch": arch, "weights": weights}} if is_loaded else {}
    spec = given.build(FeaturesSpec, **loaded)
    from flows.register_features import register_features_flow

    show_made(register_features_flow(store, spec), store)


@app.command(
    rich_help_panel="The demo world",
    epilog="Example: actionlore world videos --set train_per_class=8",
)
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
