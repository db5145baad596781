"""Small steps are trained by one thread, and the number of threads changes nothing but rounding."""

import pytest
import torch

from tests.training.world import World
from training.config.overrides import override
from training.config.runtime import RuntimeOptions
from training.launch.launch import train
from training.launch.threads import NARROW, is_small, limited, with_threads
from training.models.registry import recipe

CPU = RuntimeOptions(device="cpu")


@pytest.mark.parametrize(
    ("name", "settings", "small"),
    [
        ("mgdm_small", [], True),
        ("mgdm_stickworld_k7", [], True),
        ("mgdm_small", ["optim.batch_size=256"], False),
        ("mgdm_small", ["optim.batch_size=256", "optim.micro_batch=64"], True),
        ("mgdm_kinetics400_k7", ["optim.batch_size=8"], False),
        ("linear_probe_stickworld", [], False),
    ],
)
def test_steps_are_small_of_few_cached_frames_and_narrow_embeddings(name, settings, small):
    config = override(recipe(name).config, settings)
    assert is_small(config, NARROW) == small
    assert not is_small(config, 2 * NARROW)


def test_small_steps_on_the_cpu_take_one_thread_unless_told_otherwise(tmp_path):
    inputs = World(tmp_path, 4, splits={"train": 1}).inputs()
    config = recipe("mgdm_small").config
    assert with_threads(CPU, config, inputs).threads == 1
    told = (RuntimeOptions(device="cuda"), RuntimeOptions(device="cpu", threads=3))
    assert [with_threads(each, config, inputs) for each in told] == [*told]


def test_the_number_of_threads_changes_nothing_but_rounding(tmp_path):
    rows = []
    with limited(3):
        for threads in (None, 2):
            world = World(tmp_path / str(threads), 4, splits={"train": 4, "test": 1})
            settings = ["optim.epochs=2", "optim.batch_size=8", "eval.every=0"]
            config = override(recipe("mgdm_small").config, [*settings, "data.num_frames=4"])
            used = set()
            made = train(
                world.store,
                world.inputs(),
                config,
                "run",
                lambda done, total, used=used: used.add(torch.get_num_threads()),
                RuntimeOptions(device="cpu", threads=threads),
            )
            assert used == {threads or 1}
            assert torch.get_num_threads() == 3
            rows.append(made.artifact.read(["loss"])["loss"].to_pylist())
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)
