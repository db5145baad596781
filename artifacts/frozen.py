"""The base of every config and record: immutable, and strict about its fields.

The end of a settings class's name says what it decides:

* `...Config` is part of an artifact's key: another value makes another artifact.
* `...Options` says how a job is carried out (workers, limits, retries) and is in no key.
* `...Spec` is what a flow or a process is given: names, paths, configs and options.

A value that must be one of known names is checked by `check_known`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable; an unknown field is an error; a field's docstring is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of the known ones.

    Raises:
        ValueError: it is not; see `nearest`.
    """
    known = list(known)
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}; {nearest(name, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`nearest: ...`, or `known: ...` where none is near."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known) or 'none'}"
