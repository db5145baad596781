"""A directory whose packages have the names of ours and must not be imported, and scripts in it.

A script lies elsewhere, as the installed command does: what Python runs first is then not the
current directory.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def directory_of_strangers(path):
    """`path`, with a package of each of our names that raises when it is imported."""
    for name in ("artifacts", "knowledge", "training", "flows"):
        (path / name).mkdir(parents=True)
        (path / name / "__init__.py").write_text("raise RuntimeError(f'{__file__} was imported')\n")
    return path


def run_among_strangers(path, code, **environment):
    """Run a script in such a directory; what it prints."""
    script = path / "scripts/script.py"
    script.parent.mkdir(parents=True)
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=directory_of_strangers(path / "strangers"),
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
