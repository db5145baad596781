"""The base of every config and record: immutable, and strict about its fields.

The end of a settings class's name says what it decides:

* `...Config` is part of an artifact's key: another value makes another artifact.
* `...Options` says how a job is carried out (workers, limits, retries) and is in no key.
* `...Spec` is what a flow or a process is given: names, paths, configs and options.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable; an unknown field is an error; a field's docstring is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
