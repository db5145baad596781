"""A name means what was just run, also where that was found; commands say what they read."""

import json
import shutil

import pytest

from artifacts.store import Store
from flows.orchestration.train_inputs import exact, train_inputs
from tests.flows.command_line import failed
from training.config.run import RunConfig
from training.models.mgdm.config import MgdmConfig

SMALL = ("--set", "data.num_frames=2", "--set", "optim.epochs=1", "--set", "optim.warmup_epochs=0")


@pytest.fixture
def two(actionlore, videos, tmp_path):
    """Two directories of videos under one name; refs of both, the second registered last."""
    shutil.copytree(videos, tmp_path / "more")
    shutil.copy(tmp_path / "more/train/walk/0.mp4", tmp_path / "more/train/walk/copy.mp4")

    def register(directory):
        done = actionlore("register", "--dataset", "folder", "--videos", directory, "--name", "x")
        assert done.exit_code == 0, done.stderr
        return Store(tmp_path / "store").get("videos/x")

    return register, (register(videos), register(tmp_path / "more"))


@pytest.fixture
def mined(actionlore, weights):
    def mine(directory, dataset="x"):
        given = ("mine", "--dataset", dataset, "--videos", directory, "--frames", "2")
        done = actionlore(*given, "--clip", "tiny-vit", "--clip-weights", weights)
        assert done.exit_code == 0, done.stderr
        return Store("store").get("negatives/x")

    return mine


def taken(store):
    """Refs of the negatives and videos that `train --dataset x` takes."""
    config = RunConfig(model=MgdmConfig())
    dataset = exact(store, "x", [config])
    inputs, _ = train_inputs(store, dataset, config, None, None)
    assert train_inputs(store, "x", config, None, None)[0].negatives.ref == inputs.negatives.ref
    return inputs.negatives.ref, inputs.videos.ref


def test_a_dataset_registered_again_is_the_one_that_is_trained_on(
    actionlore, two, mined, videos, tmp_path
):
    register, (first, second) = two
    assert first.ref != second.ref
    store = Store(tmp_path / "store")
    of_second = mined(tmp_path / "more")
    assert of_second.manifest.inputs["videos"].ref == str(second.ref)
    assert register(videos).ref == first.ref
    told = ("not mined", f"--dataset x@{of_second.ref.key}")
    failed(actionlore("train", "--dataset", "x", *SMALL), f"x means {first.ref}", *told)
    of_first = mined(videos)
    assert taken(store) == (of_first.ref, first.ref)
    register(tmp_path / "more")  # found, and its negatives are older than those of the first
    assert taken(store) == (of_second.ref, second.ref)
    mined(videos, f"x@{first.ref.key}")  # the last word is this mining
    assert taken(store) == (of_first.ref, first.ref)
    with pytest.raises(ValueError, match="no artifact negatives/y"):
        exact(store, "y", [RunConfig(model=MgdmConfig())])
    assert exact(store, f"x@{second.ref.key}", []) == f"x@{second.ref.key}"


def test_every_command_that_takes_a_name_says_what_it_read(actionlore, two, mined, tmp_path):
    _, (_, second) = two
    negatives = mined(tmp_path / "more")
    store = Store(tmp_path / "store")
    done = actionlore("train", "--dataset", "x", *SMALL, "--name", "run")
    assert done.exit_code == 0, done.stderr
    run = store.get("training_run/run").ref
    texts = str(store.get("training_run/run").manifest.inputs["texts"].ref)
    assert f"texts {texts}" in done.stdout
    assert f"videos {second.ref} (of that name there are 2)" in done.stdout

    def printed(*command):
        done = actionlore(*command)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    out = tmp_path / "out.parquet"
    assert f"read {negatives.ref}\n" in printed("export-negatives", "negatives/x", "--output", out)
    assert f"run {run}" in printed("evaluate", "run", "--split", "train")
    few = ("few-shot", "run", "--split", "train", "--ways", "3", "--episodes", "5")
    assert f"run {run}" in printed(*few)
    assert f"videos {second.ref}" in printed(*few)
    summary = printed("summarise", "table", "--of", "a=run-test", "--json")
    assert str(store.get("metrics/run-test").ref) in json.loads(summary)["read"].values()
