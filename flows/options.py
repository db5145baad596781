"""Options of the commands, most of them shared by several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from knowledge.kind_modules import kind_names

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", envvar="ACTIONLORE_STORE", help="Directory or fsspec URL of artifacts."
    ),
]
VideosOption = Annotated[Path, typer.Option("--videos", help="Directory the videos are in.")]
DatasetOption = Annotated[
    str, typer.Option("--dataset", help="Reader of the dataset: folder, kinetics, stickworld.")
]
LabelsOption = Annotated[str | None, typer.Option(help="Label CSV of the dataset.")]
ListOption = Annotated[list[str], typer.Option("--list", help="SPLIT=FILE, a list file per split.")]
ClassesOption = Annotated[
    str | None, typer.Option(help="Known class list or CSV (id,name[,group]) that fixes the ids.")
]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the artifacts; the reader's name if omitted.")
]
ArchOption = Annotated[str, typer.Option("--clip", help="open_clip architecture.")]
WeightsOption = Annotated[
    str, typer.Option("--clip-weights", help="Pretrained tag, checkpoint file, or `bundled`.")
]
CorpusOption = Annotated[
    str, typer.Option(help="Further class lists for negatives, separated by commas.")
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(help="OpenAI-compatible endpoint; bundled recorded replies if omitted."),
]
ModelOption = Annotated[str | None, typer.Option(help="Model at the endpoint.")]
LedgerOption = Annotated[Path | None, typer.Option(help="File of paid attempts.")]
KindOption = Annotated[
    list[str],
    typer.Option("--kind", help=f"{', '.join(kind_names())}; repeatable, all if omitted."),
]
KindSetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        help="KIND.FIELD=VALUE, a change to a kind's settings, e.g. cooccurrence.rounds=3.",
    ),
]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--concurrency", help="Requests in flight at a time; 8 if omitted.")
]
RpmOption = Annotated[float | None, typer.Option("--rpm", help="Requests per minute at most.")]
TpmOption = Annotated[float | None, typer.Option("--tpm", help="Tokens per minute at most.")]
MaxUsdOption = Annotated[
    float | None, typer.Option("--max-usd", help="US dollars that the ledger may come to.")
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", help="Tokens that the ledger may come to.")
]
PricesOption = Annotated[
    Path | None, typer.Option("--prices", help="Price table (JSON); the bundled one if omitted.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", help="Longest silence of the endpoint in s; 120 if omitted."),
]
CoverageOption = Annotated[
    float | None,
    typer.Option(
        "--min-coverage",
        help="Share of the classes that must be answered; if omitted 0.9 of an endpoint, 0 of "
        "recorded replies.",
    ),
]
RecipeOption = Annotated[str, typer.Option(help="Named recipe, see `actionlore recipes`.")]
SetOption = Annotated[list[str], typer.Option("--set", help="KEY=VALUE, a change to the recipe.")]
SplitOption = Annotated[str | None, typer.Option(help="Split to score.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
TopKOption = Annotated[int, typer.Option(help="Negatives kept per video.")]
FramesOption = Annotated[int, typer.Option("--frames", help="Frames per video.")]
