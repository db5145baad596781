"""What must hold of every model; a further one is a line in `tests.training.runs.MODELS`."""

import pytest
import torch

from tests.training.runs import (
    MODELS,
    WITH_DROPOUT,
    batches,
    config_of,
    doubled,
    gradients,
    in_float64,
    start,
)
from tests.training.world import LOGIT_SCALE, World
from training.distributed.group import Group
from training.loop.epochs import resume, train_epoch, train_step
from training.loop.resume import RunCheckpoints
from training.loop.step import StepSeed, backward, split

every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"), splits={"train": 4, "val": 2, "test": 1})
    return world.inputs(templates=world.publish_templates())


def begun(inputs, model, *settings):
    return start(inputs, config_of("optim.batch_size=8", *settings, model=model))


@every_model
def test_gradient_reaches_exactly_what_is_trained(inputs, model):
    run = begun(inputs, model)
    train_step(run, next(batches(run)))
    moved = {name for name, gradient in gradients(run).items() if gradient.abs().sum() > 0}
    wanted = {name for name, p in run.state.method.named_parameters() if p.requires_grad}
    assert moved == wanted


@every_model
def test_a_few_clips_are_learnt_by_heart(inputs, model):
    run = begun(inputs, model, "optim.lr=3e-3", "optim.warmup_epochs=0", "optim.epochs=40")
    batch = next(batches(run))
    losses = [float(train_step(run, batch)) for _ in range(60)]
    assert min(losses[-5:]) < 0.1 * losses[0]


@every_model
def test_a_resumed_run_equals_an_undisturbed_one_to_the_bit(inputs, model, tmp_path):
    """Stopped in the middle of the second epoch, with everything that has a state switched on."""
    settings = ["optim.ema=0.9", "eval.select=val", "eval.patience=9", "optim.micro_batch=3"]
    whole, first, second = (
        begun(inputs, model, *settings, "optim.max_norm=0.5", "optim.epochs=2") for _ in range(3)
    )
    for _ in range(2):
        train_epoch(whole)
    train_epoch(first)
    for batch in list(batches(first, epoch=2))[:2]:
        train_step(first, batch)
        first.state.batch += 1
    checkpoints = RunCheckpoints(tmp_path, "key")
    checkpoints.save(first.state.step, first.state.saved())
    resume(second, checkpoints)
    assert (second.state.step, second.state.epoch, second.state.batch) == (5, 1, 2)
    train_epoch(second)
    assert second.state.rows == whole.state.rows
    assert second.state.best.epoch == whole.state.best.epoch
    for one, other in (
        (second.state.method.trained_state(), whole.state.method.trained_state()),
        (second.state.average.tensors, whole.state.average.tensors),
        (second.state.best.tensors, whole.state.best.tensors),
    ):
        for name, tensor in other.items():
            assert torch.equal(one[name], tensor), name


@every_model
def test_evaluation_is_deterministic_and_gives_probabilities(inputs, model):
    run = begun(inputs, model)
    method, batch = run.state.method.eval(), next(batches(run))
    with torch.no_grad():
        protocols = method.protocols(run.data.classes)
        again = method.protocols(run.data.classes)
        assert method.primary in protocols
        for name, classify in protocols.items():
            found_BK = classify(method.features(batch.clips))
            assert torch.equal(found_BK, again[name](method.features(batch.clips)))
            assert found_BK.dtype == torch.float64
            assert torch.allclose(found_BK.sum(dim=1), torch.ones(len(found_BK)).double())
            alone_BK = classify(method.features(batch.clips[:1]))
            assert torch.allclose(alone_BK, found_BK[:1], atol=1e-5), "videos see each other"


@every_model
def test_a_clip_has_an_embedding_of_its_own(inputs, model):
    run = begun(inputs, model)
    method, batch = run.state.method.eval(), next(batches(run))
    with torch.no_grad():
        whole_BD = method.embed_clips(method.features(batch.clips))
        alone_BD = method.embed_clips(method.features(batch.clips[2:3]))
    assert whole_BD.shape == (8, batch.clips.shape[-1])
    assert whole_BD.dtype == torch.float32
    assert torch.allclose(alone_BD, whole_BD[2:3], atol=1e-5), "clips see each other"
    assert not torch.allclose(whole_BD[2], whole_BD[3])


@every_model
def test_it_says_its_factor_on_cosines_which_starts_as_clips(inputs, model):
    """Where it has one; export and mining again show that those with a parameter say it."""
    log_scale = begun(inputs, model).state.method.log_scale
    assert log_scale is None or log_scale.detach().exp().item() == pytest.approx(LOGIT_SCALE)


@every_model
def test_order_of_the_batch_does_not_matter(inputs, model):
    run = in_float64(begun(inputs, model))
    method, batch = run.state.method.eval(), doubled(next(batches(run)))
    order = torch.tensor([3, 0, 4, 7, 1, 2, 6, 5])
    mixed = batch.map(lambda each: each[order])
    one, other = (method.losses(method.encode(each))["loss"] for each in (batch, mixed))
    assert torch.allclose(one, other, rtol=0, atol=1e-9)


@every_model
@pytest.mark.parametrize("micro_batch", [1, 3, 5])
def test_parts_give_the_loss_and_gradients_of_the_whole(inputs, model, micro_batch):
    """With dropout the whole is the parts, each with its own draws, joined in one graph."""
    run = in_float64(begun(inputs, model))
    method, batch = run.state.method.train(), doubled(next(batches(run)))
    parameters = [p for p in method.parameters() if p.requires_grad]
    draws = StepSeed(seed=3, step=11)

    def found(size):
        loss, count = backward(method, batch, draws, parameters, group=Group(), micro_batch=size)
        assert count == 8
        return loss["loss"], gradients(run)

    loss, grads = found(micro_batch)
    if model in WITH_DROPOUT:
        parts, place = [], 0
        for part in split(batch, micro_batch):
            with draws.at(place, torch.device("cpu")):
                parts.append(method.encode(part))
            place += len(part.video_ids)
        whole = method.losses({k: torch.cat([p[k] for p in parts]) for k in parts[0]})["loss"]
        wanted = torch.autograd.grad(whole, parameters)
        other = found(8)[1]
        assert any(not torch.allclose(grads[name], other[name]) for name in grads), "no dropout"
        expected = dict(zip(grads, wanted, strict=True))
    else:
        whole = method.losses(method.encode(batch))["loss"]
        wanted = torch.autograd.grad(whole, parameters)
        expected = {
            name: gradient
            for (name, p), gradient in zip(method.named_parameters(), wanted, strict=True)
        }
    assert torch.allclose(loss, whole, rtol=0, atol=1e-9)
    for name, gradient in expected.items():
        torch.testing.assert_close(grads[name], gradient, rtol=1e-9, atol=1e-9, msg=name)
