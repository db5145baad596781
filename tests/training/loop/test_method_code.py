"""A run belongs to the code of its method: an edited loss is trained anew, and nothing else is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.store import Store
from artifacts.views.lineage import lineage
from flows.terminal.inspect import lineage as show_lineage
from training.config.method_code import code_sha256, config_of, method_code
from training.config.overrides import override
from training.evaluation.evaluate import evaluate
from training.launch.launch import InputRefs
from training.loop.trainer import train
from training.models.registry import recipe

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "training/models/README.md"
NEUTRAL = {
    "a comment": lambda text: text.replace("    def losses(", "    # of it\n    def losses("),
    "a docstring": lambda text: text.replace("of the whole batch.", "of all its clips."),
    "layout": lambda text: text.replace(
        'return {"loss": F.cross_entropy(logits_BK, encoded["class_B"])}',
        "return {\n            'loss': F.cross_entropy(logits_BK,\n  encoded['class_B'])}",
    ),
}
EDITED = {
    "the loss": lambda text: text.replace('encoded["class_B"])}', 'encoded["class_B"]) * 2}'),
    "what is classified by": lambda text: text.replace("softmax(dim=1)", "sigmoid()"),
    "a constant": lambda text: text.replace("dim=-1)", "dim=-1, eps=1e-6)"),
}


@pytest.fixture
def folder(tmp_path):
    """The method of the page on adding one."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    found = tmp_path / "methods/adapter"
    found.mkdir(parents=True)
    (found / "__init__.py").write_text('"""A linear layer on frozen CLIP."""\n')
    for name, block in zip(("config", "model", "recipes"), blocks, strict=True):
        (found / f"{name}.py").write_text(block)
    return found


def edit(folder, change):
    path = folder / "model.py"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


@pytest.mark.parametrize("change", NEUTRAL.values(), ids=NEUTRAL)
def test_what_changes_no_result_changes_no_hash(folder, change):
    known = code_sha256(folder)
    edit(folder, change)
    assert code_sha256(folder) == known


@pytest.mark.parametrize("change", EDITED.values(), ids=EDITED)
def test_what_may_change_a_result_changes_the_hash(folder, change):
    known = code_sha256(folder)
    edit(folder, change)
    assert code_sha256(folder) != known


def test_recipes_are_no_code_and_further_files_are(folder):
    known = code_sha256(folder)
    (folder / "recipes.py").write_text("def recipes():\n    return []\n")
    (folder / "notes.txt").write_text("to do")
    assert code_sha256(folder) == known
    (folder / "head.py").write_text("SCALE = 1\n")
    assert code_sha256(folder) != known


def test_the_hash_does_not_depend_on_the_python_that_makes_it(folder):
    """Written down: a new field of a Python's syntax trees must not make all runs anew."""
    for path in folder.iterdir():
        path.unlink()
    (folder / "model.py").write_text(
        'class A:\n    x: int = 1\n    """doc"""\n    def f(self, *, y=None, **z):\n'
        "        return {**z, 'a': f'{y!r:>3}', 'b': 1e-3}\n"
    )
    assert code_sha256(folder) == WRITTEN_DOWN


WRITTEN_DOWN = "2f97af7f4414d79b96130e5a487b8419e7fa80ab20869b90c364ea494a7dd0ec"


def run(folder, store, refs, stop_at=0):
    given = (ROOT / "tests/training/loop/edited_method.py", folder.parent, store, refs, stop_at)
    done = subprocess.run(
        [sys.executable, *map(str, given)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_edited_method_makes_a_new_run_and_says_so(world, folder, tmp_path):
    store, refs = world.store.root, tmp_path / "inputs.json"
    refs.write_text(InputRefs.of(world.inputs(negatives=None)).model_dump_json())
    first = run(folder, store, refs)
    assert first["made"]
    assert first["said"] is None
    assert first["code"]["method"].startswith(first["report"])
    edit(folder, NEUTRAL["a comment"])
    assert not run(folder, store, refs)["made"]
    edit(folder, EDITED["the loss"])
    stopped = run(folder, store, refs, stop_at=4)
    assert stopped["stopped"]
    was, other = first["report"], code_sha256(folder)[:12]
    assert stopped["said"] == (
        f"{first['ref']} was made by other code of adapter ({was}, now {other}): "
        "training_run/t is a new run"
    )
    edit(folder, EDITED["a constant"])
    last = run(folder, store, refs)
    assert last["made"]
    assert last["work"]["steps"] == 6, "nothing is gone on with"
    assert re.fullmatch(
        rf"a run that was stopped at step 3 was begun by other code of adapter \({other}, now "
        rf"{last['report']}\): training_run/t is a new run, from step 0",
        last["said"],
    )
    assert last["ref"] != first["ref"]
    back = (folder / "model.py").read_text().replace(", eps=1e-6", "")
    (folder / "model.py").write_text(back)
    resumed = run(folder, store, refs)
    assert resumed["said"] is None, "its own checkpoints are there"
    assert resumed["work"]["steps"] == 3


def test_the_code_is_part_of_the_key_and_is_shown(world, capsys):
    config = override(recipe("mgdm_small").config, ["data.num_frames=4"])
    made = train(world.store, world.inputs(), config, "t").artifact
    assert made.manifest.config["code"] == method_code("mgdm")
    assert made.manifest.key == made.manifest.recomputed_key
    assert config_of(made) == config
    code = code_sha256(ROOT / "training/models/mgdm")
    assert method_code("mgdm")["method"] == code
    assert made.manifest.report["code"] == code[:12]
    predictions, _ = evaluate(world.store, made, world.inputs(), "test")
    scored = predictions.artifact
    assert scored.manifest.config["code"] == method_code("mgdm"), "which decides a score, too"
    nodes = {node.role: node.code for node in lineage(world.store, scored)}
    assert (nodes[None], nodes["run"], nodes["videos"]) == (code, code, None)
    show_lineage(world.store.root, str(scored.ref), False)
    shown = capsys.readouterr().out
    assert f"by code {code[:12]}" in " ".join(shown.split())
    assert Store(world.store.root).get(made.ref).verify() is None
