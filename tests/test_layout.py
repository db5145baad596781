"""The floor plan: what import-linter's contracts (in pyproject.toml) do not say."""

import ast
import graphlib
import re
from collections import Counter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = ("artifacts", "knowledge", "training", "flows")
MAX_LINES = 400
MAX_SIBLINGS = 13
FOUND_BY_NAME = ("readers", "kinds", "tasks", "models")
"""Packages whose members nobody lists."""


def sources():
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def test_no_import_leads_in_a_circle():
    graph = grimp.build_graph(*PACKAGES)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_files_are_short_and_packages_small():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources()
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long
    siblings = Counter(path.parent for path in sources() if path.name != "__init__.py")
    for path in sources():
        if path.name == "__init__.py":
            siblings[path.parent.parent] += path.parent.name not in PACKAGES
    crowded = {str(path.relative_to(ROOT)): n for path, n in siblings.items() if n > MAX_SIBLINGS}
    assert not crowded


def test_a_package_names_its_modules_in_reading_order_and_holds_nothing_else():
    for path in sources():
        if path.name != "__init__.py":
            continue
        tree = ast.parse(path.read_text())
        assert len(tree.body) == 1, path
        doc = ast.get_docstring(tree)
        named = set(re.findall(r"`(\w+)`", doc.partition("order:")[2]))
        there = {each.stem for each in path.parent.glob("*.py")} - {"__init__"}
        there |= {each.parent.name for each in path.parent.glob("*/__init__.py")}
        if path.parent.name in FOUND_BY_NAME:
            there = {name for name in there if name in named}
        assert named == there, path


def test_a_method_is_known_to_its_own_folder_only():
    methods = {path.parent.name for path in (ROOT / "training/models").glob("*/config.py")}
    assert methods >= {"mgdm", "actionclip"}
    for path in sources():
        inside = path.parent.name if path.parent.parent.name == "models" else None
        text = path.read_text()
        found = set(re.findall(r"training\.models\.(\w+)\.", text)) & methods
        assert found <= {inside}, f"{path} knows {', '.join(found)}"
        assert inside or not re.search(r"isinstance\([^)]*config\.model", text), path
