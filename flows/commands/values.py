"""Values of options that are written in a form of their own; each is read for (option, given)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def names(option: str, listed: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def present(option: str, given: bool) -> dict[str, Any]:
    """A model of which nothing but its presence is said."""
    return {}


def list_files(option: str, items: Iterable[str]) -> dict[str, str]:
    """Files by split, from SPLIT=FILE."""
    pairs: dict[str, str] = {}
    for item in items:
        split, separator, path = item.partition("=")
        if not separator or split in pairs:
            problem = f"split {split!r} is given twice" if separator else "write SPLIT=FILE"
            raise ValueError(f"{option} {item!r}: {problem}")
        pairs[split] = path
    return pairs


def shard(option: str, text: str) -> tuple[int, int]:
    """The i-th of n, from i/n."""
    return _two_numbers(option, text, "/", "i/n, such as 1/4")


def inverted_lists(option: str, text: str) -> dict[str, int]:
    """Fields of an `IvfConfig`, from NUM_LISTS:NUM_PROBES."""
    form = "NUM_LISTS:NUM_PROBES, such as 1000:32"
    num_lists, num_probes = _two_numbers(option, text, ":", form)
    return {"num_lists": num_lists, "num_probes": num_probes}


def filters(option: str, items: Iterable[str]) -> dict[str, Any]:
    """Fields of a `MiningConfig`, from NAME=VALUE."""
    from knowledge.mining.config import read_filters

    return read_filters(items, option)


def variants(option: str, items: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Refs by variant, from VARIANT=REF[,REF...]."""
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        variant, _, refs = item.partition("=")
        members = tuple(ref.strip() for ref in refs.split(","))
        if not variant or not all(members):
            raise ValueError(f"{option} {item!r}: write VARIANT=METRICS[,METRICS...]")
        if variant in found:
            raise ValueError(
                f"{option} {item!r}: {variant} is given twice; put all of its metrics into one, "
                "separated by commas"
            )
        found[variant] = members
    return found


def kind_settings(option: str, items: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Settings of the kinds, from lines such as `description.sampling.temperature=0.3`.

    Values are JSON (`3`, `true`, `null`), anything else is text.

    Raises:
        ValueError: not of the form KIND.FIELD=VALUE, or given twice.
    """
    from knowledge.extraction.registry import kind_names

    settings: dict[str, Any] = {}
    for item in items:
        key, separator, text = item.partition("=")
        *path, last = key.strip().split(".")
        if not separator or not path or not all((*path, last)):
            raise ValueError(
                f"{option} {item!r}: write KIND.FIELD=VALUE, e.g. cooccurrence.rounds=3; "
                f"kinds: {', '.join(kind_names())}"
            )
        section: Any = settings
        for name in path:
            section = section.setdefault(name, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last in section:
            raise ValueError(f"{option} {item!r}: {key.strip()} is given twice; leave one out")
        section[last] = _value(text.strip())
    return settings


def _two_numbers(option: str, text: str, separator: str, form: str) -> tuple[int, int]:
    first, _, second = text.partition(separator)
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(f"{option} {text!r}: write {form}")
    return int(first), int(second)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
