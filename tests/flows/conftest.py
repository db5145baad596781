"""A small dataset of real videos, the command line, and a model to ask."""

import pytest
from typer.testing import CliRunner

from tests.clip_weights import save_random_clip
from tests.flows.command_line import described
from tests.llm_server import LlmServer
from tests.video_files import write_video

NAMES = ("walk", "run", "sit", "wave")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_random_clip(tmp_path_factory.mktemp("weights") / "random.safetensors")


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Videos of four classes of the demo world in train and test, and one that is broken."""
    root = tmp_path_factory.mktemp("videos")
    for i in range(12):
        split = "test" if i >= 8 else "train"
        write_video(root / split / NAMES[i % 4] / f"{i}.mp4", 20 + i)
    (root / "train/walk/broken.mp4").write_text("no video")
    return root


@pytest.fixture
def actionlore(tmp_path, monkeypatch):
    """Run a command in an empty directory, in this process."""
    from flows.cli import app

    monkeypatch.chdir(tmp_path)

    def run(*arguments, **environment):
        return CliRunner().invoke(app, [str(each) for each in arguments], env=environment)

    return run


@pytest.fixture
def registered(actionlore, videos):
    done = actionlore("register", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    assert done.exit_code == 0, done.stderr
    assert "videos/tiny@" in done.stdout


@pytest.fixture
def endpoint():
    with LlmServer(described) as server:
        yield server
