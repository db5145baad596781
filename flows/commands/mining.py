"""Commands about hard negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands import values
from flows.commands.app import show_made
from flows.commands.command import Given, command
from flows.commands.fields import Field
from flows.commands.options import CLIP, CORPUS, ENCODING, MINING, RUNNER, StoreOption

_OF_MINING_ANEW = (*CORPUS, "--frames", "--offset", *ENCODING, *RUNNER, "--shard")
"""Options without effect where a run mines what it was trained on."""


@command(
    "flows.orchestration.specs.mine:MineSpec",
    {
        "Data": {"--dataset": "dataset", "--videos": Field("videos", required=False)},
        "CLIP": {
            "--clip": Field("clip.arch", required=False),
            "--clip-weights": Field("clip.weights", required=False),
            "--from-run": Field("flows.orchestration.specs.mine:RemineSpec.run", required=False),
            "--frames": "frames.num_frames",
            "--offset": "frames.offset",
            **ENCODING,
            "--device": "device",
        },
        "Mining": {**CORPUS, **MINING},
        "Where it runs": {**RUNNER, "--shard": Field("runner.shard", values.shard, "I/N")},
    },
    panel="Mining",
    example="actionlore mine --dataset folder --videos VIDEOS --clip ViT-B-16-quickgelu "
    "--clip-weights openai --corpus kinetics400",
)
def mine(given: Given, store: StoreOption = "store") -> None:
    """Embed videos and class texts with frozen CLIP, or a trained run, and rank hard negatives."""
    from flows.orchestration.specs.mine import MineSpec, RemineSpec

    if "--from-run" in given:
        if unused := [each for each in _OF_MINING_ANEW if each in given]:
            raise ValueError(
                f"{unused[0]} has no effect with --from-run: texts and frames are those the run "
                "was trained on"
            )
        again = given.build(RemineSpec, run=given["--from-run"])
        from flows.remine_negatives import remine

        show_made(remine(store, again), store, wanted="negatives")
        return
    if not any(each in given for each in ("--videos", *CLIP)):
        raise ValueError("give --videos, --clip and --clip-weights, or --from-run")
    spec = given.build(MineSpec)
    from flows.mine_negatives import mine

    show_made(mine(store, spec), store, wanted="negatives")


@command(
    "knowledge.mining.config:ExportOptions",
    {
        "Form of the file": {
            "--format": "format",
            "--num-negatives": "num_negatives",
            "--corpus": "corpus",
            "--anchor": "anchor",
        }
    },
    panel="Mining",
    example="actionlore export-negatives negatives/folder --output negatives.parquet",
    name="export-negatives",
)
def export_negatives(
    given: Given,
    ref: Annotated[str, typer.Argument(help="negatives/NAME or negatives/NAME@KEY.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    store: StoreOption = "store",
) -> None:
    """Write negatives as training data for sentence-transformers."""
    from knowledge.mining.config import ExportOptions

    options = given.build(ExportOptions)
    from artifacts.store import Store
    from flows.terminal.work import named
    from knowledge.mining.export import export

    negatives = Store(store).get(ref)
    typer.echo(f"read {named(negatives.store, str(negatives.ref))}")
    for line in export(negatives, output, options).lines():
        typer.echo(line)
