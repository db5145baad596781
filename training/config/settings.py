"""Types of the fields of configs, and what is said of a wrong value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def setting_names(config: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of a config's settings, those of its parts included."""
    for name, field in config.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from setting_names(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def first_error(error: ValidationError, config: type[BaseModel], prefix: str = "") -> str:
    """The first thing wrong with a config, in one line; a union's alternatives count as one.

    Args:
        error: of pydantic.
        config: what was to be made.
        prefix: before the names of its settings, such as `model.`.
    """
    known = set(setting_names(config))
    messages: dict[str, list[str]] = {}
    for item in error.errors():
        if item["type"] == "value_error":
            return item["msg"].removeprefix("Value error, ")
        names = [str(part) for part in item["loc"]]
        while names[:-1] and ".".join(names) not in known and item["type"] != "extra_forbidden":
            names.pop()
        where = f"{prefix}{'.'.join(names)}={plain(item['input'])}"
        messages.setdefault(where, []).append(item["msg"])
    where, parts = next(iter(messages.items()))
    return f"{where}: {' or '.join(parts)}"


def plain(value: Any) -> str:
    """A value as it is written in `key=value`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)
