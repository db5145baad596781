"""Commands about what an LLM knows."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.app import app, guarded, show_made
from flows.commands.command import Given, command
from flows.commands.options import (
    BATCH,
    ENDPOINT,
    KINDS,
    LIMITS,
    JsonOption,
    StoreOption,
)


@command(
    "flows.orchestration.specs.extract:ExtractSpec",
    {
        "Knowledge": {
            "--classes": "classes",
            "--kind": KINDS["--kind"],
            "--kind-set --set": KINDS["--kind-set"],
            "--min-coverage": KINDS["--min-coverage"],
        },
        "LLM endpoint": ENDPOINT,
        "Limits and cap": LIMITS,
        "Batches": BATCH,
    },
    panel="Knowledge",
    example="actionlore extract --classes ava --llm-base-url https://api.openai.com/v1 "
    "--llm-model gpt-4o-mini --llm-max-usd 2",
)
def extract(
    given: Given,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Only count calls, tokens and cost; nothing is sent.",
            rich_help_panel="Limits and cap",
        ),
    ] = False,
    store: StoreOption = "store",
) -> None:
    """Ask an LLM what it knows about the classes."""
    from flows.orchestration.specs.extract import ExtractSpec

    spec = given.build(ExtractSpec)
    if plan:
        from flows.terminal.plan import show_plan

        show_plan(store, spec)
    else:
        from flows.extract_knowledge import extract

        show_made(extract(store, spec), store)


@app.command(rich_help_panel="Knowledge", epilog="Example: actionlore replay --port 8765")
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
                    f"  actionlore extract --classes CLASSES --llm-base-url {server.url} "
                    f"--llm-model {own}"
                )
                typer.echo(f"models: {', '.join(server.models)}")
                server.wait()
        except KeyboardInterrupt:
            typer.echo("ended")

    guarded(serve)


@app.command(rich_help_panel="Knowledge", epilog="Example: actionlore report cooccurrence/ava")
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
