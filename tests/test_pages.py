"""What READMEs say can be done: commands, options, Python, links, tables of what is there."""

import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from artifacts.kinds import SCHEMAS
from flows.cli import app
from flows.commands.app import lazily
from tests.flows.command_line import parse
from training.config.overrides import override
from training.models.registry import recipe

ROOT = Path(__file__).parents[1]
PACKAGES = ("artifacts", "knowledge", "training", "flows", "tests")
PAGES = [
    ROOT / "README.md",
    *(ROOT / ".github").glob("*.md"),
    *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("README.md"))),
]
COMMANDS = typer.main.get_command(app).commands
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda each: str(each.relative_to(ROOT)))

TESTED_ELSEWHERE = ("training/models/README.md",)
"""By tests/training/test_readme.py, as the method that its Python is."""
SERVING = ".serve("
"""Of a block that never ends; tests/flows/orchestration/test_watched.py serves it."""


def blocks(page, language):
    """Fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def spans(page):
    """Code within a line."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", text)


def called(page):
    """Calls of the command in shell blocks, with the block's own variables put in."""
    for block in blocks(page, "sh"):
        text = block.replace("\\\n", " ").replace(".venv/bin/actionlore", "actionlore")
        for name in re.findall(r'\b(\w+)="', text):
            [value] = re.findall(rf'\b{name}="([^"]*)"', text)
            text = re.sub(rf"\${name}\b", lambda _, value=value: value, text)
        for line in text.splitlines():
            if line.strip().startswith("actionlore "):
                yield re.sub(r"\s#.*", "", line.strip())


def test_every_package_has_a_page_and_every_command_is_on_one():
    assert {ROOT / name / "README.md" for name in PACKAGES} <= {*PAGES}
    text = "\n".join(page.read_text() for page in PAGES)
    assert [name for name in COMMANDS if not re.search(rf"`actionlore {name}\b", text)] == []


@every_page
def test_every_call_can_be_read(page):
    for line in called(page):
        parse(line)
    for span in spans(page):
        program, _, words = span.partition(" ")
        if program == "actionlore" and words in COMMANDS:
            continue
        if program == "actionlore" and words:
            parse(span)


@every_page
def test_every_training_has_a_recipe_and_settings_with_effect(page):
    for line in called(page):
        words = shlex.split(line)
        if words[1] == "train":
            given = list(itertools.pairwise(words))
            [name] = [value for option, value in given if option == "--recipe"]
            override(recipe(name).config, [value for option, value in given if option == "--set"])


@every_page
def test_every_option_named_alone_is_one_of_a_command(page):
    complete = [lazily[name]() if name in lazily else each for name, each in COMMANDS.items()]
    known = {name for each in complete for param in each.params for name in param.opts}
    named = [span.split()[0] for span in spans(page) if span.startswith("--")]
    assert [each for each in named if each not in known] == []


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A directory with a store of knowledge about AVA."""
    directory = tmp_path_factory.mktemp("pages")
    words = ("extract", "--classes", "ava", "--kind", "cooccurrence")
    run([*("-m", "flows.cli"), *words], directory)
    return directory


def run(arguments, directory):
    """Run Python on this checkout."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(directory)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "page",
    [
        each
        for each in PAGES
        if blocks(each, "python") and str(each.relative_to(ROOT)) not in TESTED_ELSEWHERE
    ],
    ids=lambda each: str(each.relative_to(ROOT)),
)
def test_python_runs(page, store):
    code = [each for each in blocks(page, "python") if SERVING not in each]
    run(["-c", "\n".join(code)], store)


WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"{{name}} is not installed")

sys.meta_path.insert(0, Missing())
"""
HEAVY = ("torch", "torchvision", "open_clip", "faiss", "openai", "prefect", "typer", "pandas", "av")


@pytest.mark.parametrize(("number", "missing"), [(0, (*HEAVY, "numpy", "rich")), (1, HEAVY)])
def test_artifacts_are_read_without_what_made_them(number, missing, store):
    code = blocks(ROOT / "artifacts/README.md", "python")[number]
    run(["-c", WITHOUT.format(missing=missing) + code], store)


@every_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith("https://"):
            continue
        file, _, heading = link.partition("#")
        there = (page.parent / file).resolve()
        assert there.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w-]", "", t.lower().replace(" ", "-")) for t in titles]


def test_the_kinds_of_artifacts_are_those_of_the_page():
    rows = [
        f"| `{each.kind}` | {each.row} | {', '.join(column.name for column in each.columns)} "
        f"| `{each.command}` |"
        for each in SCHEMAS.values()
    ]
    page = (ROOT / "artifacts/README.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_what_is_installed_without_cuda_is_what_is_required():
    """But for torch and torchvision, which come first, and FAISS for the CPU."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {re.split(r"[<>=;\s]", each)[0] for each in project["dependencies"]}
    [block] = [each for each in blocks(ROOT / ".github/CONTRIBUTING.md", "sh") if "faiss" in each]
    line = block.replace("\\\n", " ").splitlines()[-1]
    named = {each.strip("'") for each in line.split("constraints.txt")[1].split()}
    assert named == required - {"torch", "torchvision", "faiss-gpu"}
