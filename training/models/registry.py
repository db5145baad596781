"""Complete named runs: one per table cell of the papers, each stating what it should reach.

A recipe is made by a function, so it can be read, called and changed; `actionlore train --recipe
NAME` resolves it here, and `config.override` adapts it.
"""

from __future__ import annotations

import difflib
from functools import cache

from training.models.actionclip.recipes import actionclip_recipes
from training.models.mgdm.recipes import mgdm_recipes
from training.models.recipe import Recipe, named


@cache
def _recipes() -> dict[str, Recipe]:
    return named([*mgdm_recipes(), *actionclip_recipes()])


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
