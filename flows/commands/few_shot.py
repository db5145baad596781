"""The command about few-shot episodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import app, run_flow
from flows.commands.build import given_only, optional_clip_spec
from flows.commands.options import (
    ClipWorkersOption,
    RunArgument,
    RunClipOption,
    RunWeightsOption,
    StoreOption,
)

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport


@app.command("few-shot")
def few_shot(
    run: RunArgument,
    data: Annotated[
        str | None, typer.Option(help="Mined dataset, also another one; the run's own if omitted.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split that is drawn from; test if omitted.")
    ] = None,
    ways: Annotated[int | None, typer.Option(help="Classes of an episode; 5 if omitted.")] = None,
    shots: Annotated[
        int | None, typer.Option(help="Support videos of a class; 1 if omitted.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="Query videos of a class; 1 if omitted.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Episodes drawn; 10000 if omitted.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draws; 0 if omitted.")] = None,
    videos: Annotated[Path | None, typer.Option(help="For a run that takes videos.")] = None,
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    workers: ClipWorkersOption = 0,
    store: StoreOption = "store",
) -> None:
    """Score a trained run with few videos per class: N-way K-shot episodes, nearest class mean."""

    def flow() -> list[JobReport]:
        from flows.evaluation.few_shot import few_shot
        from flows.orchestration.specs.evaluate import FewShotSpec
        from training.config.episodes import EpisodesConfig
        from training.config.runtime import RuntimeOptions

        given = {
            "split": split,
            "ways": ways,
            "shots": shots,
            "queries": queries,
            "num_episodes": episodes,
            "seed": seed,
        }
        spec = FewShotSpec(
            run=run,
            data=data,
            episodes=EpisodesConfig(**given_only(given)),
            videos=videos,
            clip=optional_clip_spec(clip, clip_weights),
            runtime=RuntimeOptions(device=device, workers=workers),
        )
        return few_shot(store, spec)

    run_flow(flow, store)
