"""Which weights a run publishes: the last, their mean, or the best on the validation videos."""

import pytest
import torch

from tests.training.runs import config_of, start
from tests.training.world import World
from training.evaluation.evaluate import evaluate
from training.loop.epochs import train_epoch
from training.loop.trainer import train
from training.models import weights as checkpoint

LONG = ["optim.epochs=12", "optim.lr=3e-3", "model.video_blocks=1", "optim.warmup_epochs=1"]


def weights(run):
    return checkpoint.load(run.read_file(checkpoint.FILE), "t").tensors


def test_a_score_on_the_videos_that_chose_the_weights_says_so(world):
    said = {}
    for select in ("val", "null"):
        config = config_of(*LONG, "optim.epochs=2", f"eval.select={select}")
        run = train(world.store, world.inputs(), config, "t").artifact
        for split in ("val", "test"):
            metrics = evaluate(world.store, run, world.inputs(), split)[1].artifact
            said[select, split] = metrics.manifest.report["weights_chosen_on_these_videos"]
    assert said == {
        ("val", "val"): True,
        ("val", "test"): False,
        ("null", "val"): False,
        ("null", "test"): False,
    }


def val_top1(world, run):
    rows = evaluate(world.store, run, world.inputs(), "val")[1].artifact.read().to_pylist()
    return next(row["value"] for row in rows if row["metric"] == "top1")  # primary first


def test_the_best_epoch_is_published_and_a_run_without_progress_stops(world):
    config = config_of(*LONG, "eval.select=val", "eval.patience=2")
    run = train(world.store, world.inputs(), config, "t").artifact
    rows = run.read().to_pylist()
    values = [row["val_top1"] for row in rows]
    best = values.index(max(values))
    assert len(rows) == best + 3 < 12, "two validations without improvement, then no more"
    assert run.manifest.report["weights"] == f"weights of epoch {best + 1}"
    assert val_top1(world, run) == pytest.approx(max(values), abs=1e-6)
    said = {name: run.manifest.report[name] for name in ("loss", "val_top1", "val_map")}
    assert said == {name: rows[best][name] for name in said}, "of the weights that are published"
    assert said["loss"] != rows[-1]["loss"]
    plain = train(world.store, world.inputs(), config_of(*LONG), "t").artifact
    assert plain.manifest.report["weights"] == "last"
    assert len(plain.read()) == 12
    assert rows == plain.read().to_pylist()[: len(rows)], "selecting changes no step"


def test_the_mean_is_what_is_validated_and_published(world):
    config = config_of(*LONG, "optim.ema=0.95", "optim.epochs=3")
    run = train(world.store, world.inputs(), config, "t").artifact
    assert run.manifest.report["weights"] == "mean"
    assert val_top1(world, run) == pytest.approx(run.read().to_pylist()[-1]["val_top1"], abs=1e-6)
    plain = config_of(*LONG, "optim.epochs=3")
    last = train(world.store, world.inputs(), plain, "t").artifact
    same = start(world.inputs(), config)
    for _ in range(3):
        train_epoch(same)
    for name, tensor in weights(run).items():
        assert torch.equal(same.state.average.tensors[name], tensor)
        assert torch.equal(same.state.method.state_dict()[name], weights(last)[name])


def test_selection_needs_validation_videos(tmp_path):
    world = World(tmp_path, splits={"train": 4, "test": 1})
    with pytest.raises(ValueError, match=r"has no video in split 'val'; it has test, train"):
        train(world.store, world.inputs(), config_of("eval.select=val"), "t")
