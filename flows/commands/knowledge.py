"""Commands about what an LLM knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.app import app, guarded, run_flow
from flows.commands.build import knowledge_fields
from flows.commands.options import (
    AskOptions,
    JsonOption,
    KindSetOption,
    StoreOption,
    with_ask_options,
)

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport
    from flows.orchestration.specs.extract import ExtractSpec


@app.command()
@with_ask_options
def extract(
    classes: Annotated[str, typer.Option(help="Registered dataset or known class list.")],
    asked: AskOptions,
    settings: KindSetOption = [],  # noqa: B006
    plan: Annotated[
        bool, typer.Option("--plan", help="Only count calls, tokens and cost; nothing is sent.")
    ] = False,
    store: StoreOption = "store",
) -> None:
    """Ask an LLM what it knows about the classes."""

    def spec() -> ExtractSpec:
        from flows.orchestration.specs.extract import ExtractSpec

        return ExtractSpec.model_validate({"classes": classes, **knowledge_fields(asked, settings)})

    def show() -> None:
        from flows.terminal.plan import show_plan

        show_plan(store, spec())

    def flow() -> list[JobReport]:
        from flows.extract_knowledge import extract

        return extract(store, spec())

    if plan:
        guarded(show)
    else:
        run_flow(flow, store)


@app.command()
def replay(
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    calls: Annotated[
        list[str], typer.Option(help="llm_calls ref to serve; the bundled replies if omitted.")
    ] = [],  # noqa: B006
    store: StoreOption = "store",
) -> None:
    """Serve recorded replies to any OpenAI client, without key or network."""

    def serve() -> None:
        from artifacts.store import Store
        from knowledge.extraction.replay import ReplayServer, bundled, recorded_calls

        recordings = [recorded_calls(Store(store).get(ref)) for ref in calls] or bundled()
        own = "recorded" if calls else "CLASSES"
        try:
            with ReplayServer(recordings, port, host) as server:
                typer.echo(f"recorded replies at {server.url}, Ctrl-C ends it; ask with")
                typer.echo(
                    f"  actionlore extract --classes CLASSES --base-url {server.url} --model {own}"
                )
                typer.echo(f"models: {', '.join(server.models)}")
                server.wait()
        except KeyboardInterrupt:
            typer.echo("ended")

    guarded(serve)


@app.command()
def report(
    ref: Annotated[str, typer.Argument(help="KIND/NAME or KIND/NAME@KEY.")],
    truth: Annotated[
        str | None, typer.Option(help="videos/NAME, or a CSV file: class,other,count.")
    ] = None,
    as_json: JsonOption = False,
    store: StoreOption = "store",
) -> None:
    """Judge extracted knowledge: coverage, agreement, cost, ground truth."""

    def look() -> None:
        from flows.terminal import knowledge_report

        knowledge_report.report(store, ref, truth, as_json)

    guarded(look)
