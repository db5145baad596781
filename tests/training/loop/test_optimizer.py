"""How parameters are moved: groups, Adam by its definition, clipping, the running mean."""

import pytest
import torch

from tests.training.runs import batches, config_of, gradients, start
from training.data.class_list import read_classes
from training.loop.epochs import train_step
from training.loop.optimizer import WeightAverage, make_optimizer
from training.models.method import Parts
from training.models.mgdm.model import Mgdm


def moved(world, *settings):
    """First gradient, weights before and after one step at the peak learning rate."""
    config = config_of("model.video_blocks=1", "optim.warmup_epochs=0", *settings)
    run = start(world.inputs(), config)
    before = {name: p.detach().clone() for name, p in run.state.method.named_parameters()}
    train_step(run, next(batches(run)))
    after = {name: p.detach().clone() for name, p in run.state.method.named_parameters()}
    return gradients(run), before, after, config.optim


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_the_first_step_is_adams(world, kind):
    settings = [f"optim.optimizer={kind}", "optim.eps=1e-3", "optim.lr=1e-2"]
    grads, before, after, optim = moved(world, *settings, "optim.weight_decay=0.1")
    for name, gradient in grads.items():
        lr = optim.lr * (optim.clip_lr_ratio if name == "logit_scale" else 1)
        if kind == "adam":
            gradient = gradient + 0.1 * before[name]
        step = gradient / (gradient.abs() + 1e-3)
        kept = before[name] * (1 - lr * 0.1) if kind == "adamw" else before[name]
        torch.testing.assert_close(after[name], kept - lr * step, rtol=1e-5, atol=1e-6)


class OtherGroups(Mgdm):
    def parameter_groups(self):
        groups = super().parameter_groups()
        return {"head": groups["new"], "clip": groups["clip"]}


def test_a_group_without_a_learning_rate_is_named(world):
    config = config_of("model.video_blocks=1")
    classes = read_classes(world.classes, world.texts)
    method = OtherGroups.build(config.model, Parts(dim=32, num_frames=4, classes=classes))
    with pytest.raises(ValueError, match=r"method mgdm .* 'head', of which Mgdm.*; it has new, cl"):
        make_optimizer(method, config)


def test_clipping_is_used_and_off_by_default(world):
    free, *_ = moved(world)
    norm = torch.stack([gradient.norm() for gradient in free.values()]).norm()
    bound = float(norm) / 4
    clipped, *_ = moved(world, f"optim.max_norm={bound}")
    for name, gradient in free.items():
        torch.testing.assert_close(clipped[name], gradient / 4, rtol=1e-4, atol=1e-7)
    loose, *_ = moved(world, f"optim.max_norm={float(norm) * 2}")
    assert all(torch.equal(loose[name], gradient) for name, gradient in free.items())


def test_the_mean_of_the_weights_is_what_it_says(world):
    run = start(world.inputs(), config_of("optim.ema=0.75", "model.video_blocks=1"))
    method, average = run.state.method, run.state.average
    assert isinstance(average, WeightAverage)
    expected = {name: p.detach().clone() for name, p in method.named_parameters()}
    for batch in batches(run):
        train_step(run, batch)
        for name, p in method.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * p.detach()
    own = {name: p.detach().clone() for name, p in method.named_parameters()}
    with average.in_place(method):
        for name, p in method.named_parameters():
            torch.testing.assert_close(p, expected[name])
    assert all(torch.equal(p, own[name]) for name, p in method.named_parameters())
    assert run.state.published() is average.tensors


def test_weights_keep_their_small_steps(world):
    """Peers round weights to float16 after each step, which loses most steps of this size."""
    _, before, after, _ = moved(world, "optim.lr=5e-6", "optim.weight_decay=0")
    name = "representer.blocks.0.mlp.0.weight"
    assert after[name].dtype == torch.float32
    assert (after[name] != before[name]).float().mean() > 0.99
    assert (after[name].half() != before[name].half()).float().mean() < 0.8
