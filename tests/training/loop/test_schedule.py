"""The learning rate over a run, from its definition."""

import math

import pytest

from training.config.overrides import override
from training.config.run import RunConfig
from training.loop.schedule import learning_rate_factor
from training.models.mgdm.config import MgdmConfig


def factors(*settings, per_epoch=10):
    config = override(RunConfig(model=MgdmConfig()), settings).optim
    return [learning_rate_factor(i, per_epoch, config) for i in range(per_epoch * config.epochs)]


def test_warm_up_rises_to_one_and_a_cosine_falls_to_zero():
    """The peers' schedule of 20 epochs ends at epoch 20, not at epoch 10."""
    found = factors()
    assert found[:50] == pytest.approx([(i + 1) / 51 for i in range(50)])
    assert found[50:] == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * i / 150)) for i in range(150)]
    )
    assert found[50] == max(found) == 1
    assert found[125] == pytest.approx(0.5)
    assert 0 < found[-1] < 1e-3


def test_constant_stays():
    assert factors("optim.schedule=constant", "optim.warmup_epochs=0") == [1.0] * 200
    assert factors("optim.schedule=constant")[50:] == [1.0] * 150


def test_steps_fall_at_their_epochs():
    settings = ["optim.schedule=step", "optim.milestones=[8, 15]", "optim.gamma=0.5"]
    found = factors(*settings, "optim.warmup_epochs=0", per_epoch=3)
    assert found == [1.0] * 24 + [0.5] * 21 + [0.25] * 15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optim.milestones=[3]"], r"optim\.milestones=\[3\] has no effect"),
        (["optim.gamma=0.5"], r"optim\.gamma=0\.5 has no effect"),
        (["optim.schedule=step"], r"optim\.milestones=\[\] must be rising epochs"),
        (["optim.schedule=step", "optim.milestones=[9, 7]"], "must be rising epochs"),
        (["optim.schedule=step", "optim.milestones=[3]"], "from optim.warmup_epochs=5"),
        (["optim.schedule=step", "optim.milestones=[20]"], "to below optim.epochs=20"),
        (["optim.micro_batch=256"], r"optim\.micro_batch=256 must be less than"),
        (["eval.patience=2"], r"eval\.patience=2 has no effect: eval\.select is null"),
        (["eval.select=test"], r"eval\.select=test would choose the weights on the videos that"),
        (["eval.select=train"], r"eval\.select=train is not a split to select on"),
        (["eval.select=val", "eval.every=0"], r"eval\.select needs validation"),
        (["eval.views=4"], r"eval\.views=4: "),
        (["eval.views=4x3"], r"eval\.views=4x3 has no effect"),
        (["optim.ema=1.0"], r"optim\.ema=1\.0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        override(RunConfig(model=MgdmConfig()), settings)
