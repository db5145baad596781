"""What a child Python imports: our packages, and nothing of the current directory."""

import os
import subprocess
import sys

import pytest

from artifacts.processes import import_environment, import_environment_set
from tests.strangers import ROOT, directory_of_strangers


@pytest.mark.parametrize("given", [None, "", "b", f"{os.pathsep}a{os.pathsep}{os.pathsep}b"])
def test_our_packages_come_first_and_the_current_directory_is_left_out(monkeypatch, given):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if given is not None:
        monkeypatch.setenv("PYTHONPATH", given)
    paths = [str(ROOT), *(name for name in "ab" if name in (given or ""))]
    assert import_environment() == {
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }


@pytest.mark.parametrize("how", [["-m", "artifacts.processes"], ["-c", "import artifacts.schema"]])
def test_a_child_and_its_child_import_ours(tmp_path, how):
    code = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"
    for command in (how, ["-c", code, *how]):
        given = {"cwd": directory_of_strangers(tmp_path / str(len(command))), "check": False}
        env = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
        bare = subprocess.run([sys.executable, *command], env=env, capture_output=True, **given)
        assert b"was imported" in bare.stderr
        ours = subprocess.run([sys.executable, *command], env=env | import_environment(), **given)
        assert ours.returncode == 0


def test_the_environment_is_as_before_afterwards(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "a")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    with import_environment_set():
        paths = f"{ROOT}{os.pathsep}a"
        assert os.environ == before | {"PYTHONSAFEPATH": "1", "PYTHONPATH": paths}
    assert dict(os.environ) == before
