"""Two processes find what one finds: losses, gradients, weights, and every video scored once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.strangers import directory_of_strangers
from tests.training.distributed.two_processes import CASES
from tests.training.runs import FITTED, config_of
from tests.training.world import World
from training.config.runtime import RuntimeOptions
from training.launch import launch
from training.launch.launch import evaluate, train


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(tensors, facts) of one process alone, then of both of two."""
    directory = tmp_path_factory.mktemp("processes")
    script = Path(__file__).parent / "two_processes.py"
    jobs = [("0", "1"), ("0", "2"), ("1", "2")]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(directory), *job],
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            start_new_session=True,
        )
        for job in jobs
    ]
    try:
        codes = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0, 0, 0]
    return [
        (
            load_file(directory / f"{size}-{rank}.safetensors"),
            json.loads((directory / f"{size}-{rank}.json").read_text()),
        )
        for rank, size in jobs
    ]


@pytest.mark.parametrize("case", CASES)
def test_losses_gradients_and_weights_are_those_of_one_process(found, case):
    alone, first, second = (
        {name: tensor for name, tensor in tensors.items() if name.startswith(f"{case}/")}
        for tensors, _ in found
    )
    assert alone.keys() == first.keys() == second.keys()
    assert len([name for name in alone if "gradient" in name]) > 20
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), f"the processes differ in {name}"
        is_weight = "/weights/" in name  # Adam makes one step of any gradient, however small
        atol = 2e-4 if is_weight else 1e-5
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=atol, msg=name)


def test_gradients_are_not_halved(found):
    """What the peers' gathering does to a process's own encoder."""
    case = "odd batches, a smaller last one"
    alone, both = found[0][0], found[1][0]
    for name in [key for key in alone if key.startswith(f"{case}/gradient 1 of representer")]:
        ratio = both[name].norm() / alone[name].norm()
        assert ratio == pytest.approx(1, rel=1e-4), name


def test_every_video_is_scored_once_and_read_by_one_process(found):
    (alone, one), (first, told), (second, _) = found
    assert len(set(one["scored"])) == len(one["scored"]) == 30 - 18
    assert told["scored"] == one["scored"]
    assert sum(told["decoded"]) == 12
    assert min(told["decoded"]) >= 0
    names = [name for name in alone if name.startswith("scored/")]
    assert len(names) == 6
    for name in names:
        torch.testing.assert_close(first[name], alone[name], rtol=0, atol=1e-3)
        assert torch.equal(first[name], second[name])


def test_the_epochs_row_is_that_of_one_process(found):
    alone, both = found[0][1]["row"][0], found[1][1]["row"][0]
    assert both["val_top1"] is not None
    assert both == {k: pytest.approx(v, rel=1e-4) if v else v for k, v in alone.items()}


def test_what_the_processes_exchange(found):
    for _, told in found[1:]:
        assert told["exchange"] == {
            "counts": [1, 2],
            "rows": {
                "int": [[0, 0], [3, 3], [4, 4]],
                "bool": [[True, True], [False, False], [True, True]],
                "float": [[0, 0], [3, 3], [4, 4]],
            },
            "sums": [[3.0, 3.0], [1.0, 1.0], None],
            "first": [0.0, 0.0],
            "said": [{"rank": 0, "text": ""}, {"rank": 1, "text": "x"}],
        }


def test_a_run_together_is_published_once_and_scored(found):
    for _, told in found[1:]:
        made = told["together"]
        assert made["videos"] == 5 * 18
        assert made["losses"] == found[0][1]["together"]["losses"]
        assert made["unreadable"] == 0
    assert found[1][1]["together"] == found[2][1]["together"]


@pytest.mark.parametrize("model", FITTED)
def test_a_fitted_method_learns_the_same_to_the_bit(found, model):
    (alone, one), *both = found
    learnt = {name: each for name, each in alone.items() if name.startswith(f"fitted/{model}/")}
    assert learnt
    for tensors, told in both:
        assert told["fitted"][model] == one["fitted"][model]
        for name, tensor in learnt.items():
            assert torch.equal(tensors[name], tensor), name


def test_torchrun_is_started_and_the_run_found_by_its_key(tmp_path):
    world = World(tmp_path / "store", splits={"train": 3, "val": 2, "test": 2})
    config = config_of("model.video_blocks=1", "optim.batch_size=7")
    steps, two = [], RuntimeOptions(processes=2, device="cpu")
    made = train(world.store, world.inputs(), config, "t", lambda *at: steps.append(at), two)
    assert made.made
    assert made.work == {"epochs": 2, "steps": 6, "videos_decoded": 0}
    assert made.artifact.manifest.report["processes"] == 2
    assert [row["step"] for row in made.artifact.read().to_pylist()] == [3, 6]
    assert {of for _, of in steps} == {6}
    again = train(world.store, world.inputs(), config, "t", runtime=two)
    assert (again.made, dict(again.work)) == (False, {})


@pytest.mark.torture
def test_processes_start_where_other_packages_have_our_names(tmp_path, monkeypatch):
    world = World(tmp_path / "store", splits={"train": 3, "val": 2, "test": 2})
    two = RuntimeOptions(processes=2, device="cpu")
    monkeypatch.chdir(directory_of_strangers(tmp_path / "strangers"))
    config = config_of("optim.batch_size=9")
    run = train(world.store, world.inputs(), config, "t", None, two).artifact
    predictions, metrics = evaluate(world.store, run, world.inputs(), "test", runtime=two)
    assert predictions.made
    assert metrics.made
    assert predictions.work["videos_scored"] == 12
    assert metrics.artifact.manifest.num_rows > 0


def test_what_is_wrong_with_a_job_is_said_once(tmp_path):
    world = World(tmp_path, splits={"train": 3, "test": 1})
    job = job_of(world).model_copy(update={"store": str(tmp_path / "elsewhere")})
    with pytest.raises(ValueError, match=r"\Ano artifact classes/toy@[^\n]*\Z"):
        launch.run(job)


def test_interrupting_ends_all_processes(tmp_path):
    world = World(tmp_path, splits={"train": 3, "test": 1})
    started = []

    def stop():
        while len(started) < 3:
            time.sleep(0.05)
            started[:] = [pid for pid, line in _processes() if line.endswith(f"\0{os.getpid()}\0")]
        os.kill(os.getpid(), signal.SIGUSR1)

    def interrupted(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupted)
    watcher = threading.Thread(target=stop)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        launch.run(job_of(world))
    watcher.join()
    signal.signal(signal.SIGUSR1, before)
    assert len(started) == 3, "torchrun and two workers"
    deadline = time.monotonic() + 20
    while set(started) & {pid for pid, _ in _processes()} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not set(started) & {pid for pid, _ in _processes()}


def job_of(world):
    config = config_of("optim.epochs=100000")
    inputs, two = launch.InputRefs.of(world.inputs()), RuntimeOptions(processes=2, device="cpu")
    return launch.LaunchSpec(
        store=world.store.root, inputs=inputs, name="t", runtime=two, config=config
    )


def _processes():
    """Every process's id and command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield int(path.parent.name), path.read_text()
