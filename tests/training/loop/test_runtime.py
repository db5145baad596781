"""Options that change how a run is carried out, and nothing in what comes out."""

import shutil
import sys

import pytest
import torch

from tests.training.runs import config_of
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.batch import Batch
from training.distributed.group import Group, joined
from training.loop.compile import compiled
from training.loop.step import StepSeed, backward
from training.loop.tensorboard import Writer
from training.loop.trainer import train
from training.models import weights as checkpoint
from training.models.method import TrainedMethod

SMALL = ["model.video_blocks=1", "model.discriminator.blocks=1", "optim.batch_size=8"]


def test_runtime_options_are_no_part_of_the_key(world, tmp_path):
    assert not set(RuntimeOptions.model_fields) & set(RunConfig.model_fields)
    runtime = RuntimeOptions(device="cpu", checkpoint_every_steps=1, keep_checkpoints=1)
    made = train(world.store, world.inputs(), config_of(), "t", None, runtime)
    assert made.made
    data = made.artifact.read_file(checkpoint.FILE)
    assert not train(world.store, world.inputs(), config_of(), "t").made
    shutil.rmtree(world.store.directory(made.artifact.ref))
    again = train(world.store, world.inputs(), config_of(), "t")
    assert again.artifact.read_file(checkpoint.FILE) == data


def test_settings_without_effect_are_refused(world):
    with pytest.raises(ValueError, match="device=cuda:1 is one device, processes=2 need one each"):
        RuntimeOptions(device="cuda:1", processes=2)
    with pytest.raises(ValueError, match="workers=2 has no effect: "):
        train(world.store, world.inputs(), config_of(), "t", None, RuntimeOptions(workers=2))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    refused = r"fewer GPUs \(2\) than processes \(3\)"
    with pytest.raises(ValueError, match=refused), joined("cuda"):
        pass


def test_processes_that_nobody_starts_are_an_error(world):
    two = RuntimeOptions(processes=2, device="cpu")
    with pytest.raises(ValueError, match="processes=2 are not started here; call"):
        train(world.store, world.inputs(), config_of(), "t", runtime=two)
    assert not world.store.published("training_run")


def test_processes_that_have_not_joined_do_not_all_do_everything(world, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "any")  # as torchrun does
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="torchrun started 2 processes, each of which would"):
        train(world.store, world.inputs(), config_of(), "t")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train(world.store, world.inputs(), config_of(), "t").made


class Tiny(TrainedMethod):
    """Hardly a model, so that compiling takes seconds."""

    @classmethod
    def build(cls, config, parts):
        return cls()

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def features(self, clips):
        return clips

    def encode(self, batch):
        return {"x": batch.clips * self.weight}

    def losses(self, encoded):
        return {"loss": encoded["x"].square().mean()}

    def parameter_groups(self):
        return {"new": [self.weight]}

    def protocols(self, classes):
        return {}

    primary = "tiny"


def step_of(method, encode=None):
    batch = Batch(("a", "b"), torch.arange(6.0).view(2, 3), torch.zeros(2, dtype=torch.long))
    draws, parameters = StepSeed(0, 0), list(method.parameters())
    losses, _ = backward(method, batch, draws, parameters, group=Group(), encode=encode)
    return losses["loss"], method.weight.grad


@pytest.fixture
def inductor(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    config = pytest.importorskip("torch._inductor.config")
    torch._dynamo.reset()
    with config.patch(compile_threads=1, fx_graph_cache=False):
        yield config
    torch._dynamo.reset()


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.torture
def test_a_compiled_model_takes_the_same_step(inductor):
    plain, method = step_of(Tiny()), Tiny()
    fast = step_of(method, compiled(method))
    for one, other in zip(plain, fast, strict=True):
        torch.testing.assert_close(one, other)


def test_without_a_compiler_the_remedy_is_named(inductor, monkeypatch):
    monkeypatch.setattr(inductor.cpp, "cxx", ("/nowhere/g++",))
    method = Tiny()
    with pytest.raises(ValueError, match=r"\Athe model cannot be compiled here [^\n]*compile=true"):
        step_of(method, compiled(method))


def test_curves_are_written_where_tensorboard_is(world, tmp_path):
    runtime = RuntimeOptions(device="cpu", tensorboard=tmp_path / "curves")
    train(world.store, world.inputs(), config_of(*SMALL, "optim.max_norm=1.0"), "t", None, runtime)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    curves = set(events.Tags()["scalars"])
    assert {"loss", "video_to_text", "gradient norm", "epoch loss", "val_top1"} <= curves
    assert len(events.Scalars("loss")) == 18
    assert len(events.Scalars("epoch loss")) == 2


def test_without_tensorboard_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install actionlore\[tensorboard\]"):
        Writer(tmp_path)
    Writer(None).show(1, {"loss": 1.0})
