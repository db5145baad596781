"""The loop: it learns, is repeatable, and moves exactly what should move."""

import hashlib
import json
import math

import pytest
import torch

from tests.training.world import World
from training import checkpoint
from training.assembly import assemble, build_head
from training.batches import epoch_order, make_batch
from training.config import RunConfig, override
from training.recipes import recipe
from training.trainer import (
    TrainState,
    batch_losses,
    learning_rate_factor,
    make_optimizer,
    read_data,
    train,
    train_step,
)

QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.batch_size=24"]


def config_of(*settings):
    return override(recipe("mgdm_small").config, [*QUICK, *settings])


def start(world, config):
    data = read_data(world.inputs(), config)
    model, source = assemble(world.inputs(), config, data.cached, torch.device("cpu"))
    return TrainState(model, make_optimizer(model, config.optim)), data, source


def first_batch(data, source, config):
    order = epoch_order(len(data.videos), config.seed, 1)[: config.optim.batch_size]
    index, clips = next(source.stream(data.videos, [order], None))
    return make_batch(data.videos, index, clips, data.negatives)


def digest(outcome):
    return hashlib.sha256(outcome.artifact.read_file(checkpoint.FILE)).hexdigest()


def test_training_learns_and_is_found_again(tmp_path):
    world = World(tmp_path)
    config = config_of("optim.epochs=30", "optim.warmup_epochs=3", "optim.lr=3e-3")
    steps = []
    made = train(world.store, world.inputs(), config, "toy", lambda *step: steps.append(step))
    rows = made.artifact.read().to_pylist()
    assert made.made
    assert made.work == {"epochs": 30, "steps": 90, "videos_decoded": 0}
    assert steps[0] == (1, 90)
    assert steps[-1] == (90, 90)
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.1 * rows[0]["loss"]
    assert rows[-1]["val_top1"] > 0.6, "chance is 0.17"
    assert rows[-1]["learning_rate"] < 1e-4 < rows[3]["learning_rate"]
    assert set(made.artifact.manifest.inputs) == {
        "classes",
        "videos",
        "texts",
        "frames",
        "negatives",
    }
    report = made.artifact.manifest.report
    assert report["videos"] == 72
    assert len(report["epoch_s"]) == 30
    again = train(world.store, world.inputs(), config, "toy", lambda *step: pytest.fail("worked"))
    assert not again.made
    assert not again.work
    assert again.artifact.ref == made.artifact.ref


def test_equal_runs_give_equal_bytes_and_other_seeds_do_not(tmp_path):
    worlds = [World(tmp_path / "a"), World(tmp_path / "b"), World(tmp_path / "c", shuffle=3)]
    runs = [train(w.store, w.inputs(), config_of(), "t") for w in worlds]
    assert digest(runs[0]) == digest(runs[1]) == digest(runs[2])
    assert runs[0].artifact.read().equals(runs[2].artifact.read())
    other = train(worlds[0].store, worlds[0].inputs(), config_of("seed=1"), "t")
    assert digest(other) != digest(runs[0])


def test_the_global_generator_is_left_alone(world):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(world.store, world.inputs(), config_of(), "t")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "setting",
    [
        "model.negatives.slice=[1, 4]",
        "model.negatives.k=2",
        "model.negatives.corpus=union",
        "optim.lr=1e-4",
        "optim.clip_lr_ratio=1",
        "optim.betas=[0.5, 0.9]",
        "optim.weight_decay=0",
        "optim.warmup_epochs=0",
        "optim.batch_size=10",
    ],
)
def test_every_setting_of_a_run_changes_its_weights(world, setting):
    plain = train(world.store, world.inputs(), config_of(), "t")
    other = train(world.store, world.inputs(), config_of(setting), "t")
    assert digest(other) != digest(plain)


def test_validation_is_where_it_is_asked_for(tmp_path):
    world = World(tmp_path)
    outcome = train(world.store, world.inputs(), config_of("optim.epochs=5", "eval.every=3"), "t")
    values = [row["val_top1"] for row in outcome.artifact.read().to_pylist()]
    assert [value is not None for value in values] == [False, False, True, False, True]
    without = World(tmp_path / "without", splits={"train": 4, "test": 1})
    outcome = train(without.store, without.inputs(), config_of(), "t")
    assert outcome.artifact.manifest.report["val_top1"] is None


def test_weights_move_where_they_should(world):
    config = config_of()
    state, data, source = start(world, config)
    before = {name: p.detach().clone() for name, p in state.model.named_parameters()}
    train_step(state, first_batch(data, source, config), 0.5)
    for name, p in state.model.named_parameters():
        assert not torch.equal(p, before[name]), f"{name} did not move"
    lrs = [group["lr"] for group in state.optimizer.param_groups]
    assert lrs == pytest.approx([0.5 * config.optim.lr, 0.05 * config.optim.lr])
    frozen, data, source = start(world, config_of("model.logit_scale.learnable=false"))
    assert len(frozen.optimizer.param_groups) == 1
    scale = frozen.model.head.logit_scale.clone()
    train_step(frozen, first_batch(data, source, config), 1.0)
    assert torch.equal(frozen.model.head.logit_scale, scale)


def test_a_few_clips_are_learnt_by_heart(tmp_path):
    world = World(tmp_path, num_classes=4, splits={"train": 2, "test": 1})
    config = config_of("optim.lr=3e-3", "optim.warmup_epochs=0", "optim.batch_size=8")
    state, data, source = start(world, config)
    batch = first_batch(data, source, config)
    first = train_step(state, batch, 1.0).item()
    for _ in range(60):
        last = train_step(state, batch, 1.0).item()
    assert last < 0.02 * first


def test_a_parameter_in_no_group_or_in_two_is_an_error(world):
    state, _, _ = start(world, config_of())
    state.model.stray = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(AssertionError, match="in no group"):
        state.model.parameter_groups()
    del state.model.stray
    groups = state.model.head.parameter_groups()
    state.model.head.parameter_groups = lambda: groups | {"clip": groups["new"][:1]}
    with pytest.raises(AssertionError, match="in two groups"):
        state.model.parameter_groups()


def test_nothing_to_train_is_an_error(world):
    config = override(
        RunConfig(),
        [
            "data.num_frames=4",
            "model.negatives.k=3",
            "model.no_video_representer=true",
            "model.no_discriminator=true",
            "model.logit_scale.learnable=false",
        ],
    )
    with pytest.raises(ValueError, match="nothing is trained"):
        train(world.store, world.inputs(), config, "t")


def test_learning_rate_warms_up_and_decays_to_zero():
    config = RunConfig().optim
    factors = [learning_rate_factor(step, 10, config) for step in range(200)]
    assert factors[0] == pytest.approx(1 / 51)
    assert factors[50] == max(factors) == 1
    assert factors[:51] == sorted(factors[:51])
    assert factors[50:] == sorted(factors[50:], reverse=True)
    assert factors[125] == pytest.approx(0.5)
    assert 0 < factors[-1] < 1e-3


def test_a_loss_that_is_not_finite_stops_the_run(world):
    config = config_of("optim.lr=1e30", "optim.warmup_epochs=0")
    with pytest.raises(ValueError, match=r"the training loss is .* lower optim\.lr=1e\+30"):
        train(world.store, world.inputs(), config, "t")
    assert not world.store.published("training_run")


def test_the_checkpoint_holds_weights_and_facts(world):
    config = config_of()
    outcome = train(world.store, world.inputs(), config, "t")
    saved = checkpoint.load(outcome.artifact.read_file(checkpoint.FILE), "t")
    assert saved.facts == {
        "config": json.loads(config.model_dump_json()),
        "clip": world.clip,
        "dim": 32,
    }
    model = build_head(config, 32)
    assert set(saved.tensors) == {f"head.{name}" for name in model.state_dict()}
    assert all(math.isfinite(float(tensor.sum())) for tensor in saved.tensors.values())


def test_gaps_in_negatives_do_not_reach_the_loss(world):
    """A batch whose short video has any text in its gap gives the same loss."""
    config = config_of()
    state, data, source = start(world, config)
    batch = first_batch(data, source, config)
    present = torch.ones(batch.text_class_ids_BR.shape, dtype=torch.bool)
    present[3, 2:] = False
    values = []
    for noise in (0.0, 7.0):
        texts = batch.texts_BRD + noise * (~present)[..., None]
        changed = vars(batch) | {"texts_BRD": texts, "text_present_BR": present}
        values.append(batch_losses(state.model, type(batch)(**changed))["loss"])
    assert torch.equal(*values)
