"""Commands that run the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.app import app, guarded, show_made
from flows.commands.command import Given, command
from flows.commands.fields import Field, under
from flows.commands.options import (
    BATCH,
    CLIP,
    CORPUS,
    DATASET,
    ENCODING,
    ENDPOINT,
    KINDS,
    LIMITS,
    MINING,
    RUNNER,
    StoreOption,
)


@command(
    "flows.orchestration.specs.pipeline:PipelineSpec",
    {
        "Data": under("dataset", DATASET),
        "CLIP": {**CLIP, **ENCODING, "--device": "device"},
        "Knowledge": under("knowledge", KINDS),
        "LLM endpoint": under("knowledge", ENDPOINT),
        "Limits and cap": under("knowledge", LIMITS),
        "Batches": under("knowledge", BATCH),
        "Mining": {**CORPUS, **MINING},
        "Training": {
            "--recipe": "recipe",
            "--set": Field("settings", form="KEY=VALUE"),
            "--split": "split",
        },
        "Where it runs": RUNNER,
    },
    panel="The whole chain",
    example="actionlore pipeline --dataset folder --videos VIDEOS --clip ViT-B-16-quickgelu "
    "--clip-weights openai",
)
def pipeline(given: Given, store: StoreOption = "store") -> None:
    """Everything: register, extract, mine, train, score."""
    from flows.orchestration.specs.pipeline import PipelineSpec

    spec = given.build(PipelineSpec)
    from flows.pipeline import pipeline

    show_made(pipeline(store, spec), store)


@app.command(rich_help_panel="The whole chain", epilog="Example: actionlore demo")
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
