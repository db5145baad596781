"""The command line on trained runs: evaluate, predict, export; and features a user has."""

import json

import numpy as np
import pytest

from artifacts.store import Store
from tests.flows.command_line import failed
from training.inference.export import load

QUICK = (
    *("--set", "data.num_frames=2", "--set", "optim.epochs=1", "--set", "optim.warmup_epochs=0"),
    *("--set", "model.negatives.k=1", "--set", "model.video_blocks=1"),
    *("--set", "model.heads=2"),
)


@pytest.fixture
def registered(actionlore, videos):
    done = actionlore("register", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    assert done.exit_code == 0, done.stderr


def succeeded(done):
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_run_is_scored_shown_and_exported(actionlore, registered, videos, weights, tmp_path):
    clip = ("--clip", "tiny-vit", "--clip-weights", weights)
    mine = ("mine", "--dataset", "tiny", "--videos", videos, "--frames", "2", *clip)
    succeeded(actionlore(*mine))
    trained = actionlore("train", "--dataset", "tiny", "--name", "run", "--split", "test", *QUICK)
    advice = "model.negatives.k=1: a batch of 32 clips holds 100 % of the 4 classes as negatives"
    assert sum(advice in line for line in succeeded(trained).splitlines()) == 1
    none = ("--set", "model.negatives.k=0", "--name", "none")
    few = ("--set", "optim.batch_size=2", "--name", "few")
    for settings in (none, few):
        shown = succeeded(actionlore("train", "--dataset", "tiny", *QUICK, *settings))
        assert "as negatives already" not in shown
    store = Store(tmp_path / "store")
    known = store.get("metrics/run-test")
    for name in ("run", "training_run/run"):
        shown = succeeded(actionlore("evaluate", name))
        assert f"found {known.ref}" in " ".join(shown.split())
    shown = succeeded(actionlore("evaluate", "run", "--data", "tiny", "--split", "train"))
    assert "metrics/run-on-tiny-train@" in shown
    failed(actionlore("evaluate", "run", "--views", "4x3"), "eval.views=4x3 has no effect")
    failed(actionlore("evaluate", "nobody"), "no artifact training_run/nobody", "actionlore train")

    path = videos / "test/walk/8.mp4"
    files = (path, videos / "train/walk/broken.mp4")
    failed(actionlore("predict", "run", path), "give --clip tiny-vit and --clip-weights")
    table = succeeded(actionlore("predict", "training_run/run", *files, *clip, "--top", 2))
    assert table.count("8.mp4") == 1
    assert "not a video file" in " ".join(table.split())
    found = json.loads(succeeded(actionlore("predict", "run", *files, *clip, "--json")))
    assert [list(each) for each in found] == [["run", "video", "top"], ["run", "video", "error"]]
    rows = store.get("predictions/run-test").read().to_pylist()
    of_it = (r for r in rows if r["video_id"] == "test/walk/8")
    row = next(r for r in of_it if r["protocol"] == "mgdm/neighbours")
    assert [each["class_id"] for each in found[0]["top"]] == row["top_class_ids"]
    done = actionlore("predict", "run", files[1], *clip)
    assert done.exit_code == 1
    assert "none of 1 videos can be used" in done.stderr

    succeeded(actionlore("export", "run", "--output", "out", *clip))
    best = load(tmp_path / "out").top(path, 1)[0]
    assert best["probability"] == pytest.approx(found[0]["top"][0]["probability"], abs=1e-6)
    failed(actionlore("export", "run", "--output", "out", *clip), "out is not empty")


def test_training_on_features_a_user_has(actionlore, registered, tmp_path):
    store = Store(tmp_path / "store")
    rng = np.random.default_rng(0)
    names = store.get("classes/tiny").read()["name"].to_pylist()
    texts = {name: rng.normal(size=16) for name in names}
    listed = store.get("videos/tiny").read(["video_id", "class_ids"]).to_pylist()
    features = {
        row["video_id"]: texts[names[row["class_ids"][0]]] + 0.1 * rng.normal(size=(2, 16))
        for row in listed
    }
    np.savez(tmp_path / "f.npz", **features)
    np.savez(tmp_path / "t.npz", **texts)
    given = ("register-features", "--dataset", "tiny", "--features", "f.npz", "--clip", "own-net")
    failed(actionlore(*given), "give --texts, or --clip-weights")
    shown = succeeded(actionlore(*given, "--texts", "t.npz", "--top-k", 2))
    assert "negatives/tiny@" in shown
    succeeded(actionlore("train", "--dataset", "tiny", "--name", "own", "--split", "test", *QUICK))
    rows = store.get("metrics/own-test").read().to_pylist()
    top1 = {row["protocol"]: row["value"] for row in rows if row["metric"] == "top1"}
    assert top1["zero_shot/prompt"] == 1.0
    failed(actionlore("predict", "own", "f.npz"), "give --clip own-net")


def test_a_recipe_of_two_stages_chains_its_runs(actionlore, registered, videos, tmp_path):
    mine = ("mine", "--dataset", "tiny", "--videos", videos, "--frames", "2")
    succeeded(actionlore(*mine, "--clip", "stickworld-clip", "--clip-weights", "bundled"))
    quick = ("data.num_frames=2", "optim.epochs=2", "model.video.layers=1")
    settings = [part for each in quick for part in ("--set", each)]
    chained = ("train", "--dataset", "tiny", "--recipe", "actionclip_stickworld_head_first")
    given = (*chained, "--split", "test", "--name", "two", *settings)
    longer = ("--set", "stage1.optim.epochs=3")
    shown = succeeded(actionlore(*given, *longer))
    store = Store(tmp_path / "store")
    head, whole = store.get("training_run/two-stage1"), store.get("training_run/two")
    assert whole.manifest.inputs["start"].content_hash == head.manifest.content_hash
    assert "start" not in head.manifest.inputs
    assert (head.manifest.num_rows, whole.manifest.num_rows) == (3, 2)
    assert "metrics/two-test@" in shown
    assert "nothing had to be done" in succeeded(
        actionlore(*given, "--set", "stage1.optim.epochs=3")
    )


def test_a_recipe_that_starts_from_a_run_says_which(actionlore, registered, videos, tmp_path):
    mine = ("mine", "--dataset", "tiny", "--videos", videos, "--frames", "2")
    succeeded(actionlore(*mine, "--clip", "stickworld-clip", "--clip-weights", "bundled"))
    transfer = ("train", "--dataset", "tiny", "--recipe", "actionclip_hmdb51", "--videos", videos)
    failed(
        actionlore(*transfer, "--set", "data.num_frames=2"),
        "starts from a run of recipe actionclip_kinetics400_b16_32f",
        "--recipe actionclip_kinetics400_b16_32f` on kinetics400 first, or give --start RUN",
    )
    first = ("train", "--dataset", "tiny", "--name", "first", "--split", "test", *QUICK)
    succeeded(actionlore(*first))
    succeeded(actionlore(*first[:3], "--name", "next", *first[5:], "--start", "training_run/first"))
    store = Store(tmp_path / "store")
    start = store.get("training_run/next").manifest.inputs["start"]
    assert start.ref == str(store.get("training_run/first").ref)
