"""Methods and recipes by name; a method is a folder here, a recipe is listed in its folder.

A recipe is made by a function, so it can be read, called and changed; `actionlore train --recipe
NAME` resolves it here, and `override` of `training.config.overrides` adapts it.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING

from artifacts.frozen import check_known
from training.config.method import METHODS, MethodConfig, method_config, method_names, of_folder
from training.models.recipe import Recipe, Table, named

if TYPE_CHECKING:
    from training.models.method import Method


def method_of(config: MethodConfig) -> type[Method]:
    """The model of a method's config: `METHOD` of its folder's `model` module.

    Raises:
        ValueError: there is none.
    """
    found: type[Method] = of_folder(config.name, "model", "METHOD")
    return found


@cache
def all_recipes() -> dict[str, Recipe]:
    """Every recipe by its name, as the folders give them when first asked."""
    return named([each for name in method_names() for each in _recipes_of(name)])


def _recipes_of(method: str) -> list[Recipe]:
    method_config(method)
    found: list[Recipe] = of_folder(method, "recipes", "recipes")()
    if wrong := [each for each in found if not isinstance(each, Recipe)]:
        raise ValueError(f"recipes() of the method {method} gives {wrong[0]!r}, which is no Recipe")
    return found


def recipe_names() -> list[str]:
    """Names of all recipes."""
    return list(all_recipes())


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ValueError: there is none; the nearest are named.
    """
    recipes = all_recipes()
    check_known("recipe", name, recipes)
    return recipes[name]


def baselines() -> list[Recipe]:
    """Recipes that every table on the demo world shows beside its own."""
    return [each for each in all_recipes().values() if each.is_baseline]


def tables() -> dict[str, Table]:
    """What of the papers is repeated on the demo world, by method: `TABLE` of its recipes."""
    all_recipes()  # complains of a folder that is not one of a method
    modules = {
        name: importlib.import_module(f"{METHODS}.{name}.recipes") for name in method_names()
    }
    return {name: module.TABLE for name, module in modules.items() if hasattr(module, "TABLE")}
