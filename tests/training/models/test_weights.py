"""Checkpoints come back as they were, and only into what they were saved from."""

import pytest
import torch

from training.config.overrides import override
from training.config.run import RunConfig
from training.data.class_list import ClassList
from training.models import weights as checkpoint
from training.models.build import build
from training.models.mgdm.config import MgdmConfig


def small(*settings):
    plain = ["model.video_blocks=1", "model.discriminator.blocks=1", "data.num_frames=3"]
    classes = ClassList((0,), ("a",), ("a",), torch.zeros(1, 8), None, 0)
    return build(override(RunConfig(model=MgdmConfig()), [*plain, *settings]), 8, classes)


def test_round_trip_is_exact_and_bytes_are_equal():
    model = small()
    data = checkpoint.save(model.trained_state(), {"b": 1, "a": [2]})
    assert data == checkpoint.save(small().trained_state(), {"a": [2], "b": 1})
    saved = checkpoint.load(data, "here")
    assert saved.facts == {"a": [2], "b": 1}
    other = small("seed=1")
    other.restore(saved.tensors)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.video_blocks=2"], "the checkpoint lacks representer.blocks.1"),
        (
            ["model.no_discriminator=true", "model.discriminator.blocks=2"],
            "which the model has not",
        ),
        (["data.num_frames=4"], r"position has shape \[3, 8\] in the checkpoint and \[4, 8\]"),
    ],
)
def test_another_architecture_is_refused(settings, message):
    other = small(*settings)
    with pytest.raises(ValueError, match=message):
        other.restore(small().trained_state())


def test_other_bytes_are_refused():
    for data in (b"", b"nonsense", checkpoint.save({"a": torch.ones(2)}, {})[:-3]):
        with pytest.raises(ValueError, match="here is not a checkpoint"):
            checkpoint.load(data, "here")
