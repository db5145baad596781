"""Settings of all training tests, and the tiny dataset they share."""

import pytest
import torch

from tests.training.world import World


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "store")
