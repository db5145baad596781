"""The `flow` decorator of this package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import prefect
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

Given = ParamSpec("Given")
Made = TypeVar("Made")


def flow(name: str) -> Callable[[Callable[Given, Made]], prefect.Flow[Given, Made]]:
    """Prefect's, which keeps no results: those of a flow are artifacts in the store.

    Without the two arguments the engine asks its server, for each flow, whether and where to keep
    results; nothing is ever written to the place given here.
    """
    return prefect.flow(
        name=name, persist_result=False, result_storage=Path(PREFECT_LOCAL_STORAGE_PATH.value())
    )
