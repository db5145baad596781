"""Configs from stored values and from `key=value`, with errors in one line."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from training.config.run import RunConfig
from training.config.settings import first_error, plain

_STAGE = re.compile(r"stage(\d+)\.(.*)", re.DOTALL)


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


def override_stages(stages: Sequence[RunConfig], settings: Iterable[str]) -> tuple[RunConfig, ...]:
    """`override` of the stages of a run: a setting that begins with `stageN.` is of stage N alone.

    Raises:
        ValueError: as for `override`, or there is no such stage.
    """
    given: list[list[str]] = [[] for _ in stages]
    for setting in settings:
        match = _STAGE.match(setting.strip())
        if match is None:
            for each in given:
                each.append(setting)
        elif len(stages) == 1:
            raise ValueError(
                f"{setting!r} is of a stage, but this recipe is one run without stages; "
                f"write {match[2]}"
            )
        elif not 1 <= int(match[1]) <= len(stages):
            raise ValueError(
                f"{setting!r} is of stage {match[1]}, but this recipe has stages 1 to "
                f"{len(stages)}; write one of these, or {match[2]} for all"
            )
        else:
            given[int(match[1]) - 1].append(match[2])
    return tuple(override(stage, each) for stage, each in zip(stages, given, strict=True))


def parse(values: dict[str, Any]) -> RunConfig:
    """A config from plain values, e.g. those stored with a run.

    Raises:
        ValueError: the first thing wrong with it, in one line.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ValueError(first_error(error, RunConfig)) from error


def differing(config: RunConfig, other: RunConfig) -> Iterator[str]:
    """Settings of a config that are others in another one, such as `optim.lr=0.1, not 0.2`."""
    found, wanted = (dict(_flatten(each.model_dump(mode="json"))) for each in (config, other))
    for name in dict.fromkeys([*found, *wanted]):
        if name not in found or name not in wanted or found[name] != wanted[name]:
            value, expected = (plain(each.get(name, "nothing")) for each in (found, wanted))
            yield f"{name}={value}, not {expected}"


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
