"""Which code makes a run: part of its key, so that a changed loss is never taken for the old one.

It is a hash of the method's own folder, so an edit there makes new runs of this method and of no
other. Comments, docstrings and layout are left out, and so are the recipes, whose settings are in
the key themselves. What methods share has a version instead.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from artifacts.artifact import Artifact
from artifacts.provenance import Provenance, canonical_hash
from training.config.method import METHODS
from training.config.overrides import parse
from training.config.run import RunConfig

SHARED_VERSION = 1
"""Of what methods share (`training.loop`, `layers`, `data`, `backbone`): raise it with a change
that alters what the same config and inputs give."""

CODE = "code"
"""Entry of a key's config, beside the settings."""
RECIPES = "recipes.py"
SHORT = 12
"""Hex digits of a hash that people are shown."""


@cache
def method_code(method: str) -> dict[str, Any]:
    """`method`, the hash of its folder as this process found it first, and `shared`, the version.

    Args:
        method: its name.
    """
    spec = importlib.util.find_spec(f"{METHODS}.{method}")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [folder] = spec.submodule_search_locations
    return {"method": code_sha256(Path(folder)), "shared": SHARED_VERSION}


def code_sha256(folder: Path) -> str:
    """SHA-256 of what the Python files of a folder say, by path; the same on every Python."""
    paths = (path for path in folder.rglob("*.py") if path.name != RECIPES)
    return canonical_hash(
        {str(path.relative_to(folder)): _plain(ast.parse(path.read_bytes())) for path in paths}
    )


def config_of(run: Artifact) -> RunConfig:
    """The settings of a `training_run`.

    Raises:
        ValueError: they are none of this version.
    """
    return parse(without_code(run.manifest.config))


def without_code(config: Mapping[str, Any]) -> dict[str, Any]:
    """A key's config without its code."""
    return {name: value for name, value in config.items() if name != CODE}


def code_free_key(made: Provenance | Artifact) -> str:
    """The same for runs that differ in code alone."""
    origin = made.manifest if isinstance(made, Artifact) else made
    inputs = {role: item.content_hash for role, item in origin.inputs.items()}
    return canonical_hash([origin.kind, without_code(origin.config), inputs])


def short_code(config: Mapping[str, Any]) -> str:
    """The method's code as people are shown it."""
    return str(config[CODE]["method"])[:SHORT] if CODE in config else "not recorded"


def _plain(node: Any) -> Any:
    """A syntax tree as JSON; what is empty is left out, as not every Python has it."""
    if isinstance(node, ast.Constant):
        return ["Constant", ascii(node.value)]
    if isinstance(node, ast.AST):
        fields = {name: _plain(value) for name, value in ast.iter_fields(node) if value is not None}
        return [type(node).__name__, {name: each for name, each in fields.items() if each != []}]
    if isinstance(node, list):
        return [_plain(each) for each in node if not _is_docstring(each)]
    return ascii(node)


def _is_docstring(node: Any) -> bool:
    """A string that nothing is done with: of a module, class, function or attribute."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
