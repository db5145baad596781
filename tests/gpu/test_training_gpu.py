"""Training on a GPU under bfloat16 autocast, and through torchrun with NCCL, is that of the CPU."""

import pytest
import torch

from tests.training.runs import MODELS, config_of
from tests.training.world import World
from training.config.runtime import RuntimeOptions
from training.evaluation.evaluate import evaluate
from training.launch.launch import InputRefs, LaunchSpec, run
from training.loop.trainer import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def losses(artifact):
    return [row["loss"] for row in artifact.read().to_pylist()]


@pytest.mark.parametrize("model", MODELS)
def test_losses_are_those_of_the_cpu_up_to_bfloat16(tmp_path, model):
    found = {}
    for device in ("cpu", "cuda"):
        world = World(tmp_path / device)
        inputs = world.inputs(templates=world.publish_templates())
        runtime = RuntimeOptions(device=device)
        made = train(world.store, inputs, config_of(model=model), "t", None, runtime)
        found[device] = losses(made.artifact)
        scores = evaluate(world.store, made.artifact, inputs, "test", runtime=runtime)
        assert all(outcome.made for outcome in scores)
    assert found["cuda"] == pytest.approx(found["cpu"], rel=0.05)


def test_one_process_of_torchrun_trains_like_none(tmp_path):
    config, found = config_of(), []
    for name, through_torchrun in (("plain", False), ("torchrun", True)):
        world = World(tmp_path / name)
        runtime = RuntimeOptions(device="cuda")
        if through_torchrun:
            job = LaunchSpec(
                store=world.store.root,
                inputs=InputRefs.of(world.inputs()),
                name="t",
                runtime=runtime,
                config=config,
            )
            run(job)
        made = train(world.store, world.inputs(), config, "t", None, runtime)
        assert made.made != through_torchrun
        found.append(losses(made.artifact))
    assert found[0] == pytest.approx(found[1], rel=1e-3)
