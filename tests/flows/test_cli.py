"""The command line: quick help, errors of one line, nothing half-written."""

import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.store import Store

HEAVY = ("torch", "faiss", "open_clip", "openai", "prefect", "pandas", "pyarrow", "av")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom flows.cli import app\n"
        "from typer.testing import CliRunner\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'pipeline' in result.output, result.output\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "[]", done.stderr


def failed(done, *words):
    """The run ended with status 1 and one line that holds all words."""
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in ("error: ", *words):
        assert word in lines[0]
    assert "Traceback" not in done.output


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


@pytest.fixture
def registered(actionlore, videos):
    done = actionlore("register", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    assert done.exit_code == 0, done.stderr
    assert "videos/tiny@" in done.stdout


def test_mining_errors(actionlore, registered, videos, weights, tmp_path):
    given = ("mine", "--dataset", "tiny", "--videos", videos, "--frames", "2")
    clip = ("--clip", "tiny-vit", "--clip-weights")
    failed(actionlore(*given, *clip, "none.safetensors"), "none.safetensors", "checkpoint path")
    failed(actionlore(*given, *clip, weights, "--corpus", "kinetics"), "unknown", "kinetics400")
    failed(
        actionlore("mine", "--dataset", "tiny2", *given[3:], *clip, weights),
        "no artifact videos/tiny2",
    )
    [path] = (tmp_path / "store/videos").glob("tiny@*/part-00000.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    failed(actionlore(*given, *clip, weights), "videos/tiny@", "part-00000.parquet", "run the job")
    assert not Store(tmp_path / "store").published("frame_embeddings")


def test_endpoint_down(actionlore, tmp_path):
    done = actionlore(
        *("extract", "--classes", "stickworld", "--kind", "description"),
        *("--base-url", "http://127.0.0.1:9/v1", "--model", "m"),
        OPENAI_API_KEY="sk-very-secret-0123456789",
    )
    failed(done, "http://127.0.0.1:9/v1", "go")
    assert not Store(tmp_path / "store").published("llm_calls")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret" not in path.read_bytes()


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
    assert "cooccurrence/stickworld@" in actionlore("inspect", "list").stdout
    assert "mgdm_kinetics400_k7" in actionlore("recipes").stdout
    assert "0 orphans removed" in actionlore("gc").stdout
