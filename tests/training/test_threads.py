"""How many threads train: one where steps are small, unless the user says otherwise."""

import pytest
import torch

from tests.training.runs import config_of
from tests.training.world import World
from training.config.runtime import RuntimeOptions
from training.launch.threads import NARROW, limited, with_threads


@pytest.mark.parametrize(
    ("dim", "settings", "given", "expected"),
    [
        (8, (), None, 1),
        (8, (), 2, 2),
        (2 * NARROW, (), None, None),
        (8, ("optim.batch_size=1024",), None, None),
        (8, ("optim.batch_size=1024", "optim.micro_batch=16"), None, 1),
    ],
)
def test_small_steps_take_one_thread(tmp_path, dim, settings, given, expected):
    world = World(tmp_path, num_classes=2, dim=dim, splits={"train": 1}, described=())
    config = config_of(*settings)
    runtime = RuntimeOptions(device="cpu", threads=given)
    assert with_threads(runtime, config, world.inputs()).threads == expected


def test_threads_are_as_before_afterwards():
    before = torch.get_num_threads()
    with limited(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
