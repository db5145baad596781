"""The method of training/models/README.md is a whole one: its three files, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import training.models
from tests.training.world import World
from training.config.method import method_names
from training.config.overrides import override
from training.evaluation.evaluate import evaluate
from training.loop.trainer import train
from training.models import registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "training/models/README.md"
FILES = ("config", "model", "recipes")


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """The page's code blocks as a folder among the methods; gives the folder."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == len(FILES)
    folder = tmp_path / "methods/adapter"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('"""A linear layer on frozen CLIP."""\n')
    for name, block in zip(FILES, blocks, strict=True):
        (folder / f"{name}.py").write_text(block)
    monkeypatch.setattr(
        training.models, "__path__", [*training.models.__path__, str(folder.parent)]
    )
    registry.all_recipes.cache_clear()
    yield folder
    registry.all_recipes.cache_clear()
    for name in [each for each in sys.modules if each.startswith("training.models.adapter")]:
        del sys.modules[name]


def test_a_method_is_its_folder(adapter, tmp_path):
    assert "adapter" in method_names()
    assert {"adapter", "adapter_stickworld"} <= set(registry.recipe_names())
    world = World(tmp_path / "store")
    quick = ["data.num_frames=4", "optim.batch_size=24"]
    config = override(registry.recipe("adapter").config, quick)
    assert all(field.description for field in type(config.model).model_fields.values())
    run = train(world.store, world.inputs(negatives=None), config, "toy").artifact
    losses = run.read()["loss"].to_pylist()
    assert losses[-1] < losses[0]
    _, metrics = evaluate(world.store, run, world.inputs(), "test")
    top1 = {
        row["protocol"]: row["value"]
        for row in metrics.artifact.read().to_pylist()
        if row["metric"] == "top1"
    }
    assert top1["adapter"] > 0.6, "chance is 0.17"
    with pytest.raises(ValueError, match=r"model\.scale=-1: Input should be greater than 0"):
        override(config, ["model.scale=-1"])


def test_a_method_as_the_page_has_it_passes_make_lint(adapter, tmp_path, request):
    """Linked into a copy of the tree; what mypy knows of torch is kept from test to test."""
    tree, folder = tmp_path / "tree", "training/models/adapter"
    (tree / "training/models").mkdir(parents=True)
    for part in (".", "training", "training/models"):
        for path in (ROOT / part).iterdir():
            if not path.name.startswith(".") and not (tree / part / path.name).exists():
                (tree / part / path.name).symlink_to(path)
    (tree / folder).symlink_to(adapter)
    known = request.config.cache.mkdir("mypy_of_a_method")
    for command in (
        ("ruff", "check", "--no-cache", folder),
        ("ruff", "format", "--check", "--no-cache", folder),
        ("mypy", "--cache-dir", str(known), "--package", folder.replace("/", ".")),
    ):
        given = [sys.executable, "-m", *command]
        done = subprocess.run(given, cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config", None, "method adapter has no file training/models/adapter/config.py; write it"),
        ("config", "", "training/models/adapter/config.py has no CONFIG; define it"),
        ("config", "CONFIG = 3", "adapter/config.py: CONFIG=3 is no MethodConfig"),
        (
            "config",
            "from training.models.mgdm.config import CONFIG",
            "the name of MgdmConfig is 'mgdm'; write 'adapter'",
        ),
        ("recipes", None, "method adapter has no file training/models/adapter/recipes.py"),
        ("recipes", "", "training/models/adapter/recipes.py has no recipes; define it"),
        ("recipes", "def recipes():\n    return [3]", r"recipes\(\) of .* adapter gives 3, which"),
        (
            "recipes",
            "from training.models.mgdm.recipes import recipes",
            "two recipes are called 'mgdm_",
        ),
    ],
)
def test_a_folder_that_is_no_method_is_named(adapter, file, text, message):
    (adapter / f"{file}.py").unlink() if text is None else (adapter / f"{file}.py").write_text(text)
    for asked in (registry.recipe_names, registry.tables):
        with pytest.raises(ValueError, match=message):
            asked()


@pytest.mark.parametrize("text", [None, ""])
def test_a_method_without_a_model_is_named(adapter, text):
    config = registry.recipe("adapter").config.model
    path = adapter / "model.py"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=r"training/models/adapter/model.py"):
        registry.method_of(config)


def test_a_file_that_does_not_import_says_what_it_lacks(adapter):
    (adapter / "recipes.py").write_text("import nowhere_to_be_found")
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        registry.recipe_names()
