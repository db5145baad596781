"""Checkpoints of a run in progress: whole, newest first, only of the same run."""

import json
import logging

import pytest
import torch

from tests.training.runs import batches, config_of, start
from tests.training.world import World
from training.config.runtime import RuntimeOptions
from training.loop.epochs import train_step
from training.loop.resume import RunCheckpoints, Saved
from training.loop.state import Best
from training.loop.trainer import train
from training.models import weights as checkpoint


def saved(value):
    return Saved({"a/b": torch.full((3,), value)}, {"value": value, "third": value / 3})


def test_what_is_saved_comes_back_to_the_bit_and_the_oldest_go(tmp_path):
    checkpoints = RunCheckpoints(tmp_path, "key", keep=2)
    assert checkpoints.latest() is None
    for step in (1, 2, 10):
        checkpoints.save(step, saved(float(step)))
    assert checkpoints.latest() == 10
    found = checkpoints.read(10)
    assert found.facts == saved(10.0).facts
    assert torch.equal(found.tensors["a/b"], torch.full((3,), 10.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f".checkpoint-{step:09d}.{suffix}" for step in (2, 10) for suffix in ("json", "safetensors")
    ]


def test_what_an_interrupted_save_left_is_removed_and_never_read(tmp_path):
    checkpoints = RunCheckpoints(tmp_path, "key")
    checkpoints.save(1, saved(1.0))
    (tmp_path / ".checkpoint-000000002.safetensors").write_bytes(b"half")
    (tmp_path / ".checkpoint-0123abcd.tmp").write_bytes(b"half")
    (tmp_path / "part-00000.parquet").write_bytes(b"not ours")
    assert checkpoints.latest() == 1
    assert not checkpoints.damaged
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["tensors", "cut", "description", "missing"])
def test_a_damaged_checkpoint_is_counted_and_the_one_before_is_taken(tmp_path, damage):
    checkpoints = RunCheckpoints(tmp_path, "key")
    checkpoints.save(1, saved(1.0))
    checkpoints.save(2, saved(2.0))
    tensors = tmp_path / ".checkpoint-000000002.safetensors"
    data = bytearray(tensors.read_bytes())
    if damage == "tensors":
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif damage == "cut":
        tensors.write_bytes(data[:-5])
    elif damage == "missing":
        tensors.unlink()
    else:
        tensors.with_suffix(".json").write_text("{")
    assert checkpoints.latest() == 1
    assert len(checkpoints.damaged) == 1
    assert "step 2" in checkpoints.damaged[0]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    RunCheckpoints(tmp_path, "key").save(1, saved(1.0))
    with pytest.raises(ValueError, match=r"another config; remove .* to start anew"):
        RunCheckpoints(tmp_path, "other").latest()


def test_every_part_of_the_state_is_in_a_checkpoint(world):
    """A state with a new field that is not saved fails here."""
    run = start(world.inputs(), config_of("optim.ema=0.9", "model.video_blocks=1"))
    fresh = start(world.inputs(), config_of("optim.ema=0.9", "model.video_blocks=1", "seed=4"))
    train_step(run, next(batches(run)))
    state = run.state
    weights = {name: torch.full_like(p, 3.0) for name, p in state.method.trained_state().items()}
    state.best, state.stale, state.epoch, state.batch = Best(1, 0.25, weights), 2, 1, 1
    state.rows, state.unreadable = [{"epoch": 1, "loss": 1 / 3}], {"v": "damaged"}
    state.epoch_s, state.wait_s = [1.0], [0.1]
    kept = state.saved()
    fresh.state.restore(Saved(kept.tensors, json.loads(json.dumps(kept.facts))))
    parts = {"method", "optimizer", "average", "best", "loss_sum", "report"}
    for name in vars(state).keys() - parts:
        assert getattr(state, name), f"{name} is empty, so this test cannot see it"
        assert getattr(fresh.state, name) == getattr(state, name), name
    assert float(fresh.state.loss_sum) == float(state.loss_sum) > 0
    assert (fresh.state.best.epoch, fresh.state.best.value) == (1, 0.25)
    again = fresh.state.saved()
    assert again.tensors.keys() == kept.tensors.keys()
    for name, tensor in kept.tensors.items():
        assert torch.equal(again.tensors[name], tensor), name


def interrupted(world, config, after):
    """Train until so many steps are done, with a checkpoint at each."""

    def stop(done, total):
        if done == after:
            raise KeyboardInterrupt

    every = RuntimeOptions(checkpoint_every_steps=1, keep_checkpoints=3)
    with pytest.raises(KeyboardInterrupt):
        train(world.store, world.inputs(), config, "t", stop, every)
    [draft] = world.store.drafts.iterdir()
    return draft


def test_a_run_goes_on_behind_a_damaged_checkpoint_and_says_so(tmp_path, caplog):
    world, other = (World(tmp_path / name, splits={"train": 6, "val": 1}) for name in "ab")
    config = config_of("optim.batch_size=12", "model.video_blocks=1")
    draft = interrupted(world, config, 5)
    newest = sorted(draft.glob(".checkpoint-*.safetensors"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        made = train(world.store, world.inputs(), config, "t")
    report = made.artifact.manifest.report
    assert (report["resumed_from_step"], report["damaged_checkpoints"]) == (3, 1)
    assert "step 4" in caplog.text
    assert made.work == {"epochs": 2, "steps": 3, "videos_decoded": 0}
    whole = train(other.store, other.inputs(), config, "t")
    for read in (lambda run: run.read_file(checkpoint.FILE), lambda run: run.read().to_pylist()):
        assert read(made.artifact) == read(whole.artifact)
    assert not list(world.store.drafts.iterdir())
    assert {entry.name for entry in made.artifact.manifest.files} == {
        "part-00000.parquet",
        checkpoint.FILE,
    }
