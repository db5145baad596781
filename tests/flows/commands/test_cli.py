"""The command line: quick help, errors of one line, nothing half-written."""

import os
import subprocess
import sys
from pathlib import Path

from artifacts.store import Store
from tests.flows.command_line import failed

MODELS = ("torch", "faiss", "open_clip", "openai", "prefect")
HEAVY = (*MODELS, "pandas", "pyarrow", "av")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom flows.cli import app\n"
        "from typer.testing import CliRunner\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'pipeline' in result.output, result.output\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_command_that_finds_everything_loads_no_model_library(actionlore, videos, tmp_path):
    given = f"pipeline --dataset folder --videos {videos} --name tiny --set optim.epochs=2"
    command = [*given.split(), "--clip", "stickworld-clip", "--clip-weights", "bundled"]
    done = actionlore(*command)
    assert done.exit_code == 0, done.stderr
    code = (
        "import sys\nfrom flows.cli import app\n"
        f"sys.argv = ['actionlore', *{command!r}]\n"
        "try:\n    app()\nfinally:\n"
        f"    print([name for name in {MODELS!r} if name in sys.modules])"
    )
    again = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert "nothing had to be done" in again.stdout, again.stderr
    assert again.stdout.splitlines()[-1] == "[]"


def test_registration_errors(actionlore, videos, tmp_path):
    given = ("register", "--dataset", "folder", "--videos", videos, "--labels")
    failed(actionlore(*given, "none.csv"), "label file none.csv does not exist")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\ntrain/walk/0.mp4,fly\n")
    failed(
        actionlore(*given, labels, "--classes", "stickworld"),
        "'fly' is not in class list stickworld",
    )
    failed(
        actionlore("register", "--dataset", "fodler", "--videos", videos),
        "unknown dataset 'fodler'",
    )
    (tmp_path / "tree/walk").mkdir(parents=True)
    failed(
        actionlore("register", "--dataset", "folder", "--videos", tmp_path / "tree"),
        "holds no videos",
    )
    assert not Store(tmp_path / "store").published()


def test_other_wrong_arguments(actionlore, registered, videos):
    failed(
        actionlore("inspect", "show", "videos/nothing"),
        "no artifact videos/nothing",
        "videos/tiny@",
    )
    failed(actionlore("inspect", "shwo"), "'shwo'")
    failed(actionlore("train", "--dataset", "tiny"), "no artifact negatives/tiny")
    failed(actionlore("train", "--dataset", "tiny", "--recipe", "mgmd"), "unknown recipe 'mgmd'")


def test_inspection(actionlore):
    assert actionlore("extract", "--classes", "stickworld").exit_code == 0
    shown = actionlore("inspect", "cooccurrence/stickworld")
    assert "co-occurs with" in shown.stdout
    assert "5 of 5" in shown.stdout
    tree = actionlore("inspect", "lineage", "descriptions/stickworld").stdout
    assert "calls: llm_calls/stickworld-description@" in tree
    assert "artifacts are what their manifests say" in actionlore("inspect", "verify").stdout
    listed = actionlore("inspect", "list").stdout
    assert "cooccurrence/stickworld@" in listed
    assert "anatomy/stickworld@" in listed
    assert "mgdm_kinetics400_k7" in actionlore("recipes").stdout
    assert "0 orphans removed" in actionlore("gc").stdout
