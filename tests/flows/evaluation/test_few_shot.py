"""`actionlore few-shot`: episodes of a dataset, and what a run makes of them."""

import pytest

from artifacts.store import Store
from tests.flows.command_line import failed

QUICK = (
    *("--set", "data.num_frames=2", "--set", "optim.epochs=1", "--set", "optim.warmup_epochs=0"),
    *("--set", "model.negatives.k=0", "--set", "model.video_blocks=1", "--set", "model.heads=2"),
)
FEW = ("--split", "train", "--ways", "3", "--episodes", "30")


def succeeded(done):
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def trained(actionlore, videos, weights):
    succeeded(actionlore("register", "--dataset", "folder", "--videos", videos, "--name", "tiny"))
    clip = ("--clip", "tiny-vit", "--clip-weights", weights)
    succeeded(actionlore("mine", "--dataset", "tiny", "--videos", videos, "--frames", "2", *clip))
    succeeded(actionlore("train", "--dataset", "tiny", "--name", "run", *QUICK))


def test_a_run_is_scored_on_episodes(actionlore, trained, tmp_path):
    shown = " ".join(succeeded(actionlore("few-shot", "run", *FEW)).split())
    store = Store(tmp_path / "store")
    episodes = store.get("episodes/tiny-train-3way-1shot")
    metrics = store.get("metrics/run-tiny-train-3way-1shot")
    assert f"made {episodes.ref} 180 rows" in shown
    assert f"made {metrics.ref} 4 rows" in shown
    for row in metrics.read().to_pylist():
        assert row["num_videos"] == 90
        if row["metric"] == "accuracy":
            line = f"run {row['protocol']} 3-way 1-shot {100 * row['value']:.2f} ± "
            assert line in shown
    assert "90 of train" in shown
    assert "top-1" not in shown
    assert "classes_trained_on 4" in shown
    drawn = set(episodes.read()["video_id"].to_pylist())
    assert len(drawn) == 8, "all but the broken one"

    again = succeeded(actionlore("few-shot", "run", *FEW))
    assert "nothing had to be done" in again
    shown = succeeded(actionlore("few-shot", "run", "--data", "tiny", *FEW, "--seed", "1"))
    assert "made" in shown
    assert store.get("episodes/tiny-train-3way-1shot").ref != episodes.ref


def test_a_run_without_embeddings_of_its_own_is_shown_as_frozen_clip(actionlore, trained):
    recipe = ("--recipe", "prototype", "--set", "data.num_frames=2")
    succeeded(actionlore("train", "--dataset", "tiny", "--name", "means", *recipe))
    shown = " ".join(succeeded(actionlore("few-shot", "means", *FEW)).split())
    assert "means (embeds as frozen CLIP) nearest_class_mean/frozen_clip 3-way 1-shot" in shown
    assert "nearest_class_mean/prototype" not in shown


def test_errors(actionlore, trained):
    failed(actionlore("few-shot", "run"), "split 'test' of videos/tiny@", "fewer than ways=5")
    failed(
        actionlore("few-shot", "run", "--ways", "2"),
        "1 usable videos of class 0",
        "'run'",
        "--shots",
    )
    failed(actionlore("few-shot", "run", "--ways", "1"), "--ways 1: ")
    failed(actionlore("few-shot", "nobody"), "no artifact training_run/nobody")
    failed(actionlore("few-shot", "run", "--videos", "."), "--videos has no effect")
