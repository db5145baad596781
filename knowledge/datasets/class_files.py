"""Classes, and texts about them, from files that a user writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from artifacts.frozen import nearest
from knowledge.datasets.class_names import normalised
from knowledge.datasets.list_files import read_table

SUFFIXES = (".txt", ".csv", ".json")


def is_class_file(name: str) -> bool:
    """Whether classes or descriptions are named by a file, not by the name of an artifact."""
    return name.lower().endswith(SUFFIXES)


def read_class_file(path: Path) -> list[str]:
    """Names of classes, in the file's order.

    Args:
        path: .txt with a class per line, .csv with a column `name`, or .json with a list of names,
            or with an object whose keys they are.

    Raises:
        ValueError: a file that cannot be read so, fewer than two classes, or one that comes twice.
    """
    what = f"class file {path}"
    names: list[Any]
    if path.suffix.lower() == ".csv":
        names = _column(path, what, "name")
    elif path.suffix.lower() == ".json":
        found = _json(path, what)
        if not isinstance(found, list | dict):
            raise ValueError(f"{what} holds no list of names and no object with them as keys")
        names = list(found)
    else:
        names = _text(path, what).splitlines()
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"{what}: {wrong[0]!r} is no name; write names as text")
    names = [name.strip() for name in names if name.strip()]
    if len(names) < 2:
        raise ValueError(f"{what} names {len(names)} classes; at least two can be told apart")
    places: dict[str, str] = {}
    for name in names:
        if (before := places.setdefault(normalised(name) or name, name)) != name:
            raise ValueError(f"{what}: {before!r} and {name!r} are the same class; leave one out")
    if len(places) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{what}: {twice!r} comes twice; leave one out")
    return names


def read_description_file(path: Path) -> list[tuple[str, str]]:
    """Pairs of a class's name and a text about it.

    Args:
        path: .csv with columns `class` and `text`, or .json with an object from names to a text or
            a list of texts.

    Raises:
        ValueError: a file that cannot be read so.
    """
    what = f"description file {path}"
    if path.suffix.lower() == ".csv":
        pairs = zip(_column(path, what, "class"), _column(path, what, "text"), strict=True)
        return [(name.strip(), text.strip()) for name, text in pairs if text.strip()]
    if path.suffix.lower() != ".json":
        raise ValueError(f"{what}: give a .csv with columns class,text or a .json of name: texts")
    found = _json(path, what)
    if not isinstance(found, dict):
        raise ValueError(f"{what} holds no object from class names to texts")  # noqa: TRY004
    lists = {name: [value] if isinstance(value, str) else value for name, value in found.items()}
    for name, texts in lists.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{what}: what {name!r} has is neither a text nor a list of texts")
    return [(name, text.strip()) for name, texts in lists.items() for text in texts if text.strip()]


def by_class(
    pairs: Iterable[tuple[str, str]], names: Sequence[str], what: str
) -> dict[str, list[str]]:
    """Texts of each class that has any; a class is known by its name, however spelt.

    Args:
        pairs: name of a class and a text about it.
        names: the classes.
        what: says in errors where the texts are from.

    Raises:
        ValueError: texts about a class that is not among the classes, or about none that is.
    """
    known = {normalised(name): name for name in names}
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        if normalised(name) not in known:
            raise ValueError(
                f"{what}: {name!r} is none of the {len(names)} classes; {nearest(name, names)}"
            )
        found.setdefault(known[normalised(name)], []).append(text)
    if not found:
        raise ValueError(f"{what} holds no text about a class")
    return found


def _column(path: Path, what: str, name: str) -> list[str]:
    table = read_table(str(path), what)
    if name not in table.columns:
        raise ValueError(f"{what} has columns {', '.join(table.columns)}; it needs {name}")
    return [str(value) for value in table[name]]


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{what} does not exist") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{what} is not UTF-8 text: {error}") from error


def _json(path: Path, what: str) -> Any:
    try:
        return json.loads(_text(path, what))
    except json.JSONDecodeError as error:
        raise ValueError(f"{what} is no JSON: {error}") from error
