"""The application, and how a command ends.

One line per error: value, place, remedy; exit status 1. A halt after which the same command goes
on, such as a reached cap, exits with `RESUMABLE`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from flows.orchestration.report import JobReport

RESUMABLE = 75
"""Exit status EX_TEMPFAIL of sysexits.h: what failed now may succeed later."""

app = typer.Typer(
    help="LLM knowledge and hard negatives for video action recognition: extract, mine, train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def run_flow(
    flow: Callable[[], Sequence[JobReport]],
    store: str,
    wanted: str | None = None,
    show: Callable[[Sequence[JobReport]], None] | None = None,
) -> None:
    """Run a flow and print what it made.

    Args:
        flow: what to run.
        store: where it publishes.
        wanted: kind of artifact without which the command must be run again: exit status
            `RESUMABLE`.
        show: prints what was made; `show_reports` when None.
    """

    def run() -> None:
        from flows.terminal.work import show_reports

        reports = flow()
        if show:
            show(reports)
        else:
            show_reports(reports, store)
        if wanted and not any(each.kind == wanted for each in reports):
            sys.exit(RESUMABLE)

    guarded(run)


def guarded(action: Callable[[], None]) -> None:
    """Turn what the caller can fix into one line and exit status 1, a halt into `RESUMABLE`."""
    try:
        action()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("ACTIONLORE_TRACEBACK"):
            raise
        from knowledge.llm.messages import Stopped

        stopped = isinstance(error, Stopped)
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
