"""The decorators `flow` and `task` of this package: Prefect's where someone watches.

Where PREFECT_API_URL names a Prefect server, or Prefect itself has loaded the module (to deploy it,
on a worker, in a flow of the user's own), a flow is Prefect's and its runs are recorded. Elsewhere
it is the plain function: nobody would see the records, and nothing of Prefect is even imported.
Which of the two it is, is decided when the module is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")

SERVER = "PREFECT_API_URL"
"""Environment variable that names the server."""


def flow(name: str) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Declare a flow.

    Args:
        name: as Prefect shows it.
    """

    def declare(work: Callable[Given, Made]) -> Callable[Given, Made]:
        if not _is_watched():
            return work
        from flows.orchestration.watched import watched_flow

        return watched_flow(work, name)

    return declare


def task(work: Callable[Given, Made]) -> Callable[Given, Made]:
    """Declare a task, a step of a flow that Prefect shows by its function's name."""
    if not _is_watched():
        return work
    from flows.orchestration.watched import watched_task

    return watched_task(work)


def _is_watched() -> bool:
    return bool(os.environ.get(SERVER)) or "prefect" in sys.modules
