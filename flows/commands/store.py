"""Commands about what is in the store."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.app import app, guarded
from flows.commands.options import JsonOption, StoreOption


@app.command(rich_help_panel="Store", epilog="Example: actionlore inspect lineage negatives/folder")
def inspect(
    what: Annotated[
        str, typer.Argument(help="list, show, lineage, verify, compare, a kind or a ref.")
    ] = "list",
    ref: Annotated[str | None, typer.Argument(help="KIND/NAME or KIND/NAME@KEY.")] = None,
    other: Annotated[str | None, typer.Argument(help="The later ref, for compare.")] = None,
    video: Annotated[str | None, typer.Option(help="Video whose negatives are shown.")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown.")] = 20,
    as_json: JsonOption = False,
    store: StoreOption = "store",
) -> None:
    """Look at artifacts: list, show, lineage, verify, compare.

    With --json one object. Numbers are numbers, shares in [0, 1], the unknown is null:

    list: {"rows", "damaged"}; verify: {"rows", "manifests_without_sha256"}

    show, or a ref: {"artifact", "num_rows", "row", "config", "facts", "report", "rows"}

    of negatives without --video also {"candidates"}

    lineage: {"artifact", "rows"}

    compare: {"before", "after", "settings", "changes"}
    """

    def look() -> None:
        from artifacts.kinds import SCHEMAS
        from flows.terminal import inspect

        if video is not None and what in ("list", "lineage", "verify", "compare"):
            raise ValueError(f"--video has no effect with inspect {what}")
        if "/" in what and ref is None:
            inspect.show(store, what, video, limit, as_json)
        elif what == "compare" and ref and other:
            inspect.compare(store, ref, other, limit, as_json)
        elif what == "list" and not other:
            inspect.list_artifacts(store, ref, as_json)
        elif what in SCHEMAS and not ref:
            inspect.list_artifacts(store, what, as_json)
        elif what == "verify" and not other:
            inspect.verify(store, ref, as_json)
        elif what == "show" and ref and not other:
            inspect.show(store, ref, video, limit, as_json)
        elif what == "lineage" and ref and not other:
            inspect.lineage(store, ref, as_json)
        else:
            raise ValueError(
                f"inspect {what!r}: write list [KIND], KIND, verify [REF], show REF, "
                "lineage REF, compare REF REF or REF"
            )

    guarded(look)


@app.command(rich_help_panel="Store", epilog="Example: actionlore gc --hours 1")
def gc(
    hours: Annotated[float, typer.Option(help="Spare what was touched in the last hours.")] = 24,
    store: StoreOption = "store",
) -> None:
    """Remove what crashed jobs left behind."""

    def collect() -> None:
        from artifacts.store import Store

        removed = Store(store).gc(hours * 3600)
        for path in removed:
            typer.echo(f"removed {path}")
        typer.echo(f"{len(removed)} orphans removed")

    guarded(collect)
