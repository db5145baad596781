"""Options are fields of models: described there, in panels, checked before anything heavy."""

import re
import shlex
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from flows.cli import app
from flows.commands.app import lazily
from flows.orchestration import specs
from knowledge.extraction.registry import kind_module, kind_names
from tests.flows.commands.test_cli import HEAVY
from training.config.method import METHODS, method_names

ROOT = Path(__file__).parents[3]
COMMANDS = list(typer.main.get_command(app).commands)


def models():
    """What flows are given, and what recipes and kinds of knowledge can be told."""
    pending = [
        each
        for module in iter_modules(specs.__path__)
        for each in vars(import_module(f"{specs.__name__}.{module.name}")).values()
    ]
    pending += [import_module(f"{METHODS}.{name}.config").CONFIG for name in method_names()]
    pending += [kind_module(name).CONFIG for name in kind_names()]
    pending.append(import_module("training.config.run").RunConfig)
    pending.append(import_module("knowledge.mining.config").ExportOptions)
    found = set()
    while pending:
        each = pending.pop()
        pending += typing.get_args(each)
        if isinstance(each, type) and issubclass(each, BaseModel) and each not in found:
            found.add(each)
            pending += [field.annotation for field in each.model_fields.values()]
    return found


def test_every_field_says_what_it_is():
    found = models()
    assert {"MineSpec", "FrameConfig", "Cap", "MgdmConfig", "OptimConfig"} <= {
        each.__name__ for each in found
    }
    assert [
        f"{each.__name__}.{name}"
        for each in found
        for name, field in each.model_fields.items()
        if not (field.description or "").strip()
    ] == []


@pytest.fixture
def shown(monkeypatch):
    """The help of a command, in one line."""
    monkeypatch.setenv("COLUMNS", "200")

    def shown(*words):
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, done.output
        return " ".join(re.sub(r"[│╭╮╰╯─*]", " ", done.stdout).split())

    return shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_can_be_read(name, shown):
    text = shown(name)
    program, command, *words = shlex.split(text.partition("Example: ")[2])
    assert (program, command) == ("actionlore", name)
    group = typer.main.get_command(app)
    with group.make_context("actionlore", [name, *words]) as context:
        _, found, rest = group.resolve_command(context, [name, *words])
        found.make_context(name, rest).close()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_no_method_but_in_an_example_or_a_default(name, shown):
    """Methods are found in their folder: a list elsewhere would be wrong with the next one."""
    text = re.sub(r"\[default: .*?\]|e\.g\. [^.]*|such as [^.;]*|Example: .*", "", shown(name))
    found = [each for each in method_names() if re.search(rf"\b{each}", text, re.IGNORECASE)]
    assert found == []


def test_help_is_that_of_the_field_with_its_default(shown):
    text = shown("mine")
    assert "--frames <int> Frames per video (T). [default: 16]" in text
    assert "--offset center|start Which frame of each of the T equal segments." in text
    assert re.search("Data .*--dataset .*CLIP .*--clip .*Mining .*--top-k .*Where it runs", text)
    text = shown("pipeline")
    assert "--llm-timeout <float> Longest silence of the endpoint in s. [default: 120]" in text
    assert "those that training uses" in text
    assert "--base-url" not in text.replace("--llm-base-url", "")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name in lazily])
def test_help_of_a_command_loads_nothing_heavy(name):
    code = (
        "import sys\nfrom flows.cli import app\nsys.argv = ['actionlore', *sys.argv[1:]]\n"
        f"try:\n    app()\nfinally:\n    print([n for n in {HEAVY!r} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


WRONG = {
    "mine --dataset x --frmes 3": "no such option --frmes; nearest: --frames",
    "mine --dataset x --frames many": "--frames",
    "mine --dataset x --videos . --clip a --clip-weights b --frames 0": "--frames 0: ",
    "mine --dataset x --videos . --clip a --clip-weights b --offset centre": "nearest: center",
    "register --dataset fodler --videos .": "unknown dataset 'fodler'; nearest: folder",
    "extract --classes ava --kind descripton": "'descripton'; nearest: description",
    "train --dataset x --recipe mgdm_smal": "'mgdm_smal'; nearest: mgdm_small",
    "train --dataset x --set optim.epoch=3": "'optim.epoch'; nearest: optim.epochs",
    "train --dataset x --data stickwrld": "nearest: stickworld",
    "mien": "mine",
    "register": "--dataset",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_is_one_line_before_anything_heavy(words):
    code = (
        "import sys\nfrom flows.cli import app\nsys.argv = ['actionlore', *sys.argv[1:]]\n"
        f"try:\n    app()\nfinally:\n    print([n for n in {HEAVY!r} if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode in (1, 2)
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert WRONG[words] in line
    assert done.stdout.splitlines() == ["[]"]


def test_the_nearest_class_list_is_named(actionlore):
    done = actionlore("extract", "--classes", "hmdb5")
    assert "unknown dataset or class list 'hmdb5'; nearest: hmdb51" in done.stderr


def test_old_names_of_llm_options_work_and_are_not_mixed_with_the_new(actionlore, endpoint):
    given = ("extract", "--classes", "stickworld", "--kind", "description")
    asked = ("--base-url", endpoint.url, "--model", "m", "--concurrency", "2")
    assert actionlore(*given, *asked).exit_code == 0
    assert endpoint.num_requests == 36
    done = actionlore(*given, *asked, "--llm-model", "n")
    assert "--model is --llm-model, which is given too" in done.stderr


def test_the_version_is_that_of_the_distribution(actionlore):
    assert re.fullmatch(r"actionlore \d+\.\d+\.\d+\n", actionlore("--version").stdout)
