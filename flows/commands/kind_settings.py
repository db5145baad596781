"""Settings of knowledge kinds from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from knowledge.extraction.registry import kind_names


def read_settings(items: Iterable[str], option: str = "--set") -> dict[str, dict[str, Any]]:
    """Settings of the kinds from lines such as `description.sampling.temperature=0.3`.

    Values are JSON (`3`, `true`, `null`), anything else is text.

    Args:
        items: the lines.
        option: name of the option they came from, for messages.

    Raises:
        ValueError: not of the form KIND.FIELD=VALUE, or given twice.
    """
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


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
