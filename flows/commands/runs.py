"""Commands about trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands import values
from flows.commands.app import app, guarded, show_made
from flows.commands.command import Given, command
from flows.commands.fields import Field, Options
from flows.commands.options import CLIP, JsonOption, StoreOption

_VARIANT = "VARIANT=METRICS[,METRICS...]"
_FROZEN = "flows.orchestration.specs.evaluate:FrozenSpec"
_OF_A_RUN = ("--views", "--wise-ft", "--processes")
_OF_FROZEN = ("--frames", "--template", "--precision")
"""Options of `evaluate` with effect with, and without, a run."""
_PROCESSES: Options = {
    "--device": "runtime.device",
    "--processes": "runtime.processes",
    "--workers": "runtime.workers",
}


@command(
    "flows.orchestration.specs.train:TrainSpec",
    {
        "Data": {"--dataset": "dataset", "--videos": "videos", "--split": "split"},
        "Training": {
            "--recipe": "recipe",
            "--set": Field("settings", form="KEY=VALUE"),
            "--data": "data",
            "--start": "start",
            "--name": "name",
        },
        "CLIP": CLIP,
        "Where it runs": {
            **_PROCESSES,
            "--threads": "runtime.threads",
            "--compile": "runtime.compile",
            "--tensorboard": "runtime.tensorboard",
        },
    },
    panel="Models",
    example="actionlore train --dataset folder --recipe mgdm_small --set optim.epochs=20",
)
def train(given: Given, store: StoreOption = "store") -> None:
    """Train a recipe on mined artifacts and score it. A stopped run goes on where it was."""
    from flows.orchestration.specs.train import TrainSpec

    spec = given.build(TrainSpec)
    config = spec.config
    if spec.videos and config.data.features == "cached":
        raise ValueError("--videos has no effect with data.features=cached")
    towers = config.model.towers(config.data)
    if spec.clip and not (towers.image or towers.text or config.model.templates()):
        raise ValueError(f"--clip has no effect: {spec.recipe} takes the embeddings that are mined")
    from flows.train_model import train

    show_made(train(store, spec), store)


@command(
    "flows.orchestration.specs.evaluate:EvaluateSpec",
    {
        "Data": {
            "RUN": Field("run", required=False),
            "--data": "data",
            "--videos": "videos",
            "--split": "split",
        },
        "Scoring": {"--views": "views", "--wise-ft": Field("wise_ft", form="ALPHA")},
        "CLIP": {
            **CLIP,
            "--frames": "knowledge.embedding.config:FrameConfig.num_frames",
            "--template": Field(f"{_FROZEN}.templates", form="TEXT", repeats=True),
            "--precision": f"{_FROZEN}.precision",
        },
        "Where it runs": _PROCESSES,
    },
    panel="Models",
    example="actionlore evaluate RUN --split test",
)
def evaluate(given: Given, store: StoreOption = "store") -> None:
    """Score a trained run, on its dataset or on another one; without RUN, frozen CLIP alone."""
    from flows.orchestration.specs.evaluate import EvaluateSpec, FrozenSpec

    if "RUN" not in given:
        if unused := [each for each in _OF_A_RUN if each in given]:
            raise ValueError(f"{unused[0]} has no effect without RUN: frozen CLIP alone is scored")
        if "--data" not in given:
            raise ValueError(
                "give RUN, or, to score frozen CLIP alone, --data DATASET with --videos and --clip"
            )
        frames = {"num_frames": given["--frames"]} if "--frames" in given else {}
        more = {
            name: given[f"--{option}"]
            for name, option in (("templates", "template"), ("precision", "precision"))
            if f"--{option}" in given
        }
        alone = given.build(FrozenSpec, frames=frames, **more)
        from flows.evaluation.evaluate_frozen import evaluate_frozen

        show_made(evaluate_frozen(store, alone), store)
        return
    if unused := [each for each in _OF_FROZEN if each in given]:
        raise ValueError(f"{unused[0]} has no effect with RUN: it has its own frames and texts")
    spec = given.build(EvaluateSpec)
    from flows.evaluation.evaluate_run import evaluate

    show_made(evaluate(store, spec), store)


@command(
    "flows.orchestration.specs.evaluate:FewShotSpec",
    {
        "Data": {"RUN": "run", "--data": "data", "--videos": "videos"},
        "Episodes": {
            "--split": "episodes.split",
            "--ways": "episodes.ways",
            "--shots": "episodes.shots",
            "--queries": "episodes.queries",
            "--episodes": "episodes.num_episodes",
            "--seed": "episodes.seed",
        },
        "CLIP": CLIP,
        "Where it runs": {"--device": "runtime.device", "--workers": "runtime.workers"},
    },
    panel="Models",
    example="actionlore few-shot RUN --ways 5 --shots 1",
    name="few-shot",
)
def few_shot(given: Given, store: StoreOption = "store") -> None:
    """Score a trained run with few videos per class: N-way K-shot episodes, nearest class mean."""
    from flows.orchestration.specs.evaluate import FewShotSpec

    spec = given.build(FewShotSpec)
    from flows.evaluation.few_shot import few_shot

    show_made(few_shot(store, spec), store)


@command(
    "flows.orchestration.specs.evaluate:SummariseSpec",
    {
        "Scores": {
            "NAME": "name",
            "--of": Field("of", values.variants, _VARIANT, repeats=True),
            "--base": Field("base", values.variants, _VARIANT, repeats=True),
            "--novel": Field("novel", values.variants, _VARIANT, repeats=True),
        }
    },
    panel="Models",
    example="actionlore summarise seeds --of mgdm=run0-test,run1-test,run2-test",
)
def summarise(given: Given, as_json: JsonOption = False, store: StoreOption = "store") -> None:
    """Mean and deviation over splits, draws or seeds; or base and novel classes."""
    from flows.orchestration.specs.evaluate import SummariseSpec

    spec = given.build(SummariseSpec)
    from flows.evaluation.summarise import summarise
    from flows.terminal.comparison import show_summary

    show_summary(store, summarise(store, spec), as_json)


@command(
    "flows.orchestration.specs.evaluate:PredictSpec",
    {
        "Data": {"RUN": "run", "VIDEO...": "videos"},
        "Scoring": {"--top": "num_top", "--views": "views", "--protocol": "protocol"},
        "CLIP": CLIP,
        "Where it runs": {"--device": "device"},
    },
    panel="Models",
    example="actionlore predict RUN a.mp4 b.mp4 --top 3",
)
def predict(given: Given, as_json: JsonOption = False, store: StoreOption = "store") -> None:
    """Name the actions in video files with a trained run."""
    from flows.orchestration.specs.evaluate import PredictSpec

    spec = given.build(PredictSpec)
    from flows.terminal.use_run import predict

    how = (spec.clip, spec.num_top, spec.views, spec.protocol, spec.device)
    predict(store, spec.run, spec.videos, *how, as_json)


@command(
    "flows.orchestration.specs.evaluate:RunSpec",
    {"Data": {"RUN": "run"}, "CLIP": CLIP},
    panel="Models",
    example="actionlore export RUN --output weights",
)
def export(
    given: Given,
    output: Annotated[Path, typer.Option(help="New directory.", rich_help_panel="Data")],
    store: StoreOption = "store",
) -> None:
    """Write a trained run as weights that need neither store nor dataset."""
    from flows.orchestration.specs.evaluate import RunSpec

    spec = given.build(RunSpec)
    from flows.terminal.use_run import export

    export(store, spec.run, output, spec.clip)


@app.command(rich_help_panel="Models", epilog="Example: actionlore recipes mgdm ucf101")
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


@app.command(
    rich_help_panel="The demo world", epilog="Example: actionlore reproduce mgdm --seeds 1"
)
def reproduce(
    paper: Annotated[str, typer.Argument(help="Method whose tables; any other word lists them.")],
    world: Annotated[str, typer.Option(help="stickworld")] = "stickworld",
    seeds: Annotated[int, typer.Option(help="Runs per variant.")] = 3,
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE, a change to the recipes. Repeatable.")
    ] = [],  # noqa: B006
    directory: Annotated[Path, typer.Option(help="Where all goes.")] = Path("store/reproduce"),
) -> None:
    """Repeat a paper's tables on the demo world, unattended."""

    def run() -> None:
        if world != "stickworld":
            raise ValueError(f"nothing to reproduce on {world!r}; there is stickworld")
        from flows.demos.reproduce import reproduce

        reproduce(directory, paper, seeds, tuple(settings))

    guarded(run)
