"""The application, and how a command ends.

One line per error: value, place, remedy; exit status 1. A halt after which the same command goes
on, such as a reached cap, exits with `RESUMABLE`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport

PROGRAM = "actionlore"
"""Name of the command and of the distribution."""
RESUMABLE = 75
"""Exit status EX_TEMPFAIL of sysexits.h: what failed now may succeed later."""

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises about words that it cannot read as options."""
lazily: dict[str, Callable[[], Any]] = {}
"""What makes a command complete, by its name, where its options take time to find."""


class Commands(TyperGroup):
    """The commands; one is completed when it is called, and what cannot be read is one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that is called."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, lazily[name]() if name in lazily else command, rest

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and end with its exit status."""
        args = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            status = super().main(args, prog_name or PROGRAM, standalone_mode=False, **extra)
        except UsageError as error:
            typer.echo(f"error: {_usage_problem(error)}", err=True)
            sys.exit(2)
        sys.exit(status if isinstance(status, int) else 0)


def _usage_problem(error: Any) -> str:
    problem = " ".join(str(error.format_message()).split()).rstrip(".")
    if (
        error.ctx
        and (unknown := getattr(error, "option_name", None))
        and hasattr(error, "possibilities")
    ):
        from artifacts.frozen import nearest

        shown = [each for each in error.ctx.command.params if not getattr(each, "hidden", False)]
        near = nearest(unknown, [name for each in shown for name in each.opts])
        problem = f"no such option {unknown}"
        problem += f"; {near}" if near.startswith("nearest") else ""
    problem = problem[:1].lower() + problem[1:]
    return f"{problem}; see {error.ctx.command_path} --help" if error.ctx else problem


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"{PROGRAM} {version(PROGRAM)}")
        raise typer.Exit


app = typer.Typer(
    cls=Commands,
    help="LLM knowledge and hard negatives for video action recognition: extract, mine, train.",
    epilog="Example: actionlore demo",
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options_of_all(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    pass


def show_made(reports: Sequence[JobReport], store: str, wanted: str | None = None) -> None:
    """Print what a flow made.

    Args:
        reports: of the flow.
        store: where it published.
        wanted: kind of artifact without which the command must be run again: exit status
            `RESUMABLE`.
    """
    from flows.terminal.work import show_reports

    show_reports(reports, store)
    if wanted and not any(each.kind == wanted for each in reports):
        sys.exit(RESUMABLE)


def guarded(action: Callable[[], None]) -> None:
    """Turn what the caller can fix into one line and exit status 1, a halt into `RESUMABLE`."""
    try:
        action()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("ACTIONLORE_TRACEBACK"):
            raise
        for note in getattr(error, "__notes__", ()):
            typer.echo(note)
        messages = sys.modules.get("knowledge.llm.messages")  # imported where one can stop
        stopped = messages is not None and isinstance(error, messages.Stopped)
        typer.echo(f"{'stopped' if stopped else 'error'}: {_one_line(error)}", err=True)
        sys.exit(RESUMABLE if stopped else 1)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was left", err=True)
        sys.exit(130)


def _one_line(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        return f"{where}={first['input']!r}: {problem}" if where else problem
    return " ".join(str(error).split())
