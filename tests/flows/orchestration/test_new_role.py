"""A role is a line of the table and a field: nothing else names it.

The two are added to a copy of the code, as training/models/README.md says.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "training/models/README.md").read_text()


def edit(path, before, line):
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, line + before))


def test_a_role_of_the_page_is_found_checked_and_in_the_lineage(tmp_path):
    copy = tmp_path / "copy"
    for package in ("training", "flows"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, copy / package, ignore=skipped)
    for package in ("artifacts", "knowledge", "tests"):
        (copy / package).symlink_to(ROOT / package)
    [line] = re.findall(r"^    (Role\(.*\),)$", PAGE, flags=re.MULTILINE)
    [field] = re.findall(r"^    (\w+: Artifact \| None = None)$", PAGE, flags=re.MULTILINE)
    data = copy / "training/data"
    edit(data / "roles.py", '    Role("start"', f"    {line}\n")
    edit(data / "inputs.py", "    start: Artifact | None", f"    {field}\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.flows.orchestration.new_role", tmp_path / "store"],
        env={"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
