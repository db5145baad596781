"""Methods and recipes by name; a method is a folder here, a recipe is listed in its folder.

A recipe is made by a function, so it can be read, called and changed; `actionlore train --recipe
NAME` resolves it here, and `override` of `training.config.overrides` adapts it.
"""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from training.config.method import METHODS, MethodConfig, method_names
from training.models.recipe import Recipe, Table, named

if TYPE_CHECKING:
    from training.models.method import Method


def method_of(config: MethodConfig) -> type[Method]:
    """The model of a method's config: `METHOD` of its folder's `model` module."""
    found: type[Method] = _module(config.name, "model").METHOD
    return found


@cache
def _recipes() -> dict[str, Recipe]:
    return named([each for name in method_names() for each in _module(name, "recipes").recipes()])


def recipe_names() -> list[str]:
    """Names of all recipes."""
    return list(_recipes())


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ValueError: there is none; the nearest are named.
    """
    recipes = _recipes()
    if name not in recipes:
        near = difflib.get_close_matches(name, recipes, n=3, cutoff=0.4)
        known = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(recipes)}"
        raise ValueError(f"unknown recipe {name!r}; {known}")
    return recipes[name]


def baselines() -> list[Recipe]:
    """Recipes that every table on the demo world shows beside its own."""
    return [each for each in _recipes().values() if each.beside]


def tables() -> dict[str, Table]:
    """What of the papers is repeated on the demo world, by method: `TABLE` of its recipes."""
    found = {name: getattr(_module(name, "recipes"), "TABLE", None) for name in method_names()}
    return {name: table for name, table in found.items() if table is not None}


def _module(method: str, part: str) -> Any:
    return importlib.import_module(f"{METHODS}.{method}.{part}")
