"""Configs from stored values and from `key=value`, with errors in one line."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from training.config.run import RunConfig
from training.config.settings import first_error


def override(config: RunConfig, settings: Iterable[str]) -> RunConfig:
    """`config` with settings such as `model.negatives.k=3` replaced.

    Values are JSON (`3`, `true`, `[6, 9]`, `null`), anything else is text.

    Raises:
        ValueError: not of the form key=value, an unknown key (the nearest are named), a value that
            does not fit, or a setting without effect.
    """
    values = config.model_dump(mode="json")
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"{setting!r} is not a setting; write key=value, e.g. optim.epochs=5")
        key = key.strip()
        known = dict(_flatten(values))
        if key == "model.name":
            raise ValueError(f"{key} comes with the recipe; choose a recipe of {text.strip()}")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
            near += [item for item in known if item.rsplit(".")[-1] == key and item not in near]
            raise ValueError(
                f"unknown setting {key!r}; "
                + (f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}")
            )
        *path, last = key.split(".")
        section = values
        for name in path:
            section = section[name]
        section[last] = _parse(text.strip())
    return parse(values)


def parse(values: dict[str, Any]) -> RunConfig:
    """A config from plain values, e.g. those stored with a run.

    Raises:
        ValueError: the first thing wrong with it, in one line.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ValueError(first_error(error, RunConfig)) from error


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parse(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value
