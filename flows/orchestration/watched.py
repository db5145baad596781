"""Flows and tasks as Prefect's: recorded at the server that PREFECT_API_URL names.

The server only watches. Results are artifacts in the store, so Prefect keeps none; a server that
goes away costs its records, never the work.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

_COMMAND = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the command itself says what happened
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_CLIENT_MAX_RETRIES": "2",  # after 1 and 2 s; 5 would take minutes
}
"""Settings for a process that is none of Prefect's own, unless the user has set them."""

if "prefect" not in sys.modules:
    for _name, _value in _COMMAND.items():
        os.environ.setdefault(_name, _value)
    logging.raiseExceptions = False  # or each lost record of a log is announced on its own

import prefect  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH  # noqa: E402
from prefect.states import Cancelled  # noqa: E402
from prefect.types.entrypoint import EntrypointType  # noqa: E402

from flows.orchestration.console import console  # noqa: E402
from knowledge.llm.messages import Stopped  # noqa: E402

Given = ParamSpec("Given")
Made = TypeVar("Made")

_outcomes: ContextVar[list[Future[Any]] | None] = ContextVar("outcomes", default=None)
"""What the function of the flow under way returned or raised, one for each try, once it has."""


class WatchedFlow(prefect.Flow[Any, Any]):
    """A flow that is a plain call where no server is known, and outlives the one that is.

    Inside another of ours it is a task: a flow in a flow costs more than a second of waiting.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it.

        Raises:
            RuntimeError: the server does not answer at the start.
            Exception: whatever the function raises.
        """
        if not PREFECT_API_URL.value():
            return self.fn(*args, **kwargs)
        if _outcomes.get() is not None:
            return WatchedTask(inspect.unwrap(self.fn), name=self.name, cache_policy=NO_CACHE)(
                *args, **kwargs
            )
        outcomes: list[Future[Any]] = []
        token = _outcomes.set(outcomes)
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:
            if not outcomes:
                raise
            made = outcomes[-1].result()  # raises if the function did
            console.print(
                f"the Prefect server at {PREFECT_API_URL.value()} does not know that the flow "
                f"{self.name} is done: {type(error).__name__}",
                markup=False,
            )
            return made
        finally:
            _outcomes.reset(token)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """By name where it is declared: a served flow is sent to the process that runs it.

        By value its function would take along all that its module holds, such as the console.
        """
        module, name = self.fn.__module__, self.fn.__name__
        if _declared(module, name) is self:
            return _declared, (module, name)
        return super().__reduce_ex__(protocol)

    def to_deployment(self, *args: Any, **kwargs: Any) -> Any:
        """As Prefect's, but a run imports the flow by its module's name, whatever the directory."""
        kwargs.setdefault("entrypoint_type", EntrypointType.MODULE_PATH)
        return super().to_deployment(*args, **kwargs)

    def serve(self, *args: Any, **kwargs: Any) -> None:
        """As Prefect's, with the same difference."""
        kwargs.setdefault("entrypoint_type", EntrypointType.MODULE_PATH)
        super().serve(*args, **kwargs)


class WatchedTask(prefect.Task[Any, Any]):
    """A task that is a plain call where no server is known."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        if not PREFECT_API_URL.value():
            return self.fn(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def _declared(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name, None)


def watched_flow(work: Callable[Given, Made], name: str) -> Callable[Given, Made]:
    """A flow that keeps no results, and that a halt (`Stopped`) leaves Cancelled, not Failed.

    Without the two arguments about results the engine asks its server, for each flow, whether and
    where to keep them; nothing is ever written to the place given here.
    """
    found = WatchedFlow(
        _remembering(work),
        name=name,
        persist_result=False,
        result_storage=Path(PREFECT_LOCAL_STORAGE_PATH.value()),
    )
    return cast("Callable[Given, Made]", found)


def watched_task(work: Callable[Given, Made]) -> Callable[Given, Made]:
    """A task without Prefect's cache: the store knows what is done."""
    return cast("Callable[Given, Made]", WatchedTask(work, cache_policy=NO_CACHE))


def _remembering(work: Callable[Given, Made]) -> Callable[Given, Made]:
    """The function, which says how it ended before Prefect reports it."""

    @wraps(work)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> Made:
        outcome = Future[Made]()
        try:
            made = work(*args, **kwargs)
        except Exception as error:
            outcome.set_exception(error)
            if isinstance(error, Stopped):
                # Prefect takes a state for the run's own and raises the exception in its data.
                return cast(Made, Cancelled(message=str(error), data=error))
            raise
        else:
            outcome.set_result(made)
            return made
        finally:
            if outcome.done() and (known := _outcomes.get()) is not None:
                known.append(outcome)

    # Prefect resolves annotations among the names of this module, not of the function's.
    run.__signature__ = inspect.signature(work, eval_str=True)  # type: ignore[attr-defined]
    return run
