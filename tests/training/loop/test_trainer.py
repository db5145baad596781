"""The loop: it learns, is repeatable, and moves exactly what should move."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch

from tests.training.world import World
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import make_batch
from training.data.class_list import read_classes
from training.distributed.group import Group
from training.evaluation.evaluate import evaluate
from training.loop.epochs import Run, train_step
from training.loop.optimizer import checked_groups, make_optimizer
from training.loop.state import TrainState
from training.loop.trainer import train
from training.models import weights as checkpoint
from training.models.actionclip.config import ActionClipConfig
from training.models.build import assemble, build, read_data
from training.models.mgdm.config import MgdmConfig
from training.models.registry import recipe

QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.batch_size=24"]


def config_of(*settings):
    return override(recipe("mgdm_small").config, [*QUICK, *settings])


def start(world, config, **changes):
    data, cpu = read_data(world.inputs(), config), torch.device("cpu")
    method, source = assemble(world.inputs(), config, data.classes, data.cached, cpu)
    state = TrainState(method, make_optimizer(method, config))
    order = method.order(config, data.videos)
    return Run(config, data, source, state, Group(), order, **changes)


def first_batch(run):
    data = run.data
    index, clips = next(run.source.stream(data.videos, run.order.batches(1)[:1], None))
    return make_batch(data.videos, index, clips, data.joined)


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
    config = config_of("optim.warmup_epochs=1")
    run = start(world, config)
    method = run.state.method
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    train_step(run, first_batch(run))
    for name, p in method.named_parameters():
        assert not torch.equal(p, before[name]), f"{name} did not move"
    lrs = [group["lr"] for group in run.state.optimizer.param_groups]
    assert lrs == pytest.approx([0.25 * config.optim.lr, 0.025 * config.optim.lr])
    frozen = start(world, config_of("model.logit_scale.learnable=false"))
    assert len(frozen.state.optimizer.param_groups) == 1
    scale = frozen.state.method.logit_scale.clone()
    train_step(frozen, first_batch(frozen))
    assert torch.equal(frozen.state.method.logit_scale, scale)


def test_a_parameter_in_no_group_or_in_two_is_an_error(world):
    method = start(world, config_of()).state.method
    method.stray = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(AssertionError, match="in no group: stray"):
        checked_groups(method)
    del method.stray
    groups = method.parameter_groups()
    method.parameter_groups = lambda: groups | {"clip": groups["new"][:1]}
    with pytest.raises(AssertionError, match="in two groups"):
        checked_groups(method)
    method.parameter_groups = lambda: groups
    method.logit_scale.requires_grad_(False)
    with pytest.raises(AssertionError, match="a frozen parameter is in a group"):
        checked_groups(method)


NOTHING_TRAINED = {
    "mgdm": [
        "model.negatives.k=3",
        "model.no_video_representer=true",
        "model.no_discriminator=true",
    ],
    "actionclip": ["model.video.post=meanP"],
}


@pytest.mark.parametrize("method", NOTHING_TRAINED)
@pytest.mark.parametrize("more", [[], ["eval.select=val", "optim.ema=0.9"]])
def test_what_trains_nothing_is_published_and_scored_without_a_step(world, method, more):
    """ActionCLIP's mean frame under frozen CLIP's templates is its zero-shot classifier."""
    config = override(
        RunConfig(model={"mgdm": MgdmConfig, "actionclip": ActionClipConfig}[method]()),
        [
            *("data.num_frames=4", "model.logit_scale.learnable=false", *more),
            *NOTHING_TRAINED[method],
        ],
    )
    inputs, calls = world.inputs(templates=world.publish_templates()), []
    outcome = train(world.store, inputs, config, "t", lambda *call: calls.append(call))
    assert not calls
    assert outcome.work["steps"] == outcome.work["epochs"] == 0
    run = outcome.artifact
    assert run.manifest.num_rows == 0
    report = run.manifest.report
    assert report["loss"] is None
    assert "no part is trained" in report["weights"]
    assert all(not number for number in report["trained_parameters"].values())
    metrics = evaluate(world.store, run, inputs, "val")[1].artifact.read().to_pylist()
    assert metrics[0]["protocol"] == method
    assert metrics[0]["metric"] == "top1"
    assert report["val_top1"] == pytest.approx(metrics[0]["value"], abs=1e-6)
    assert not train(world.store, inputs, config, "t").made
    unseen = override(config, ["eval.every=0"]) if not more else None
    if unseen is not None:
        run = train(world.store, inputs, unseen, "t").artifact
        assert run.manifest.report["val_top1"] is None


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
    model = build(config, 32, read_classes(world.classes, world.texts))
    assert set(saved.tensors) == set(model.state_dict())
    assert all(math.isfinite(float(tensor.sum())) for tensor in saved.tensors.values())


def test_gaps_in_negatives_do_not_reach_the_loss(world):
    """A batch whose short video has any text in its gap gives the same loss."""
    run = start(world, config_of())
    method, batch = run.state.method, first_batch(run)
    present = torch.ones(batch.columns["text_class_ids_BR"].shape, dtype=torch.bool)
    present[3, 2:] = False
    values = []
    for noise in (0.0, 7.0):
        texts = batch.columns["texts_BRD"] + noise * (~present)[..., None]
        columns = batch.columns | {"texts_BRD": texts, "text_present_BR": present}
        values.append(method.losses(method.encode(replace(batch, columns=columns)))["loss"])
    assert torch.equal(*values)
