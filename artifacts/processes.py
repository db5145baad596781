"""Child processes that run Python: each imports the packages of the process that starts it.

`python -m MODULE` and `python -c CODE` look for modules in the current directory first, where a
`flows` or `training` of the user's own may lie. Every process that we start therefore gets these
variables, and hands them on to the processes that it starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[1]
"""Holds our packages: a source tree, or where a wheel was installed."""


def import_environment() -> dict[str, str]:
    """Variables for a child's environment: our packages first, not the current directory."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(_ROOT), *filter(None, given)]  # an empty entry is the current directory
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def import_environment_set() -> Iterator[None]:
    """Set these variables while something starts processes that takes no environment."""
    before = {name: os.environ.get(name) for name in import_environment()}
    os.environ.update(import_environment())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
