"""One run on several processes: starts torchrun and waits for it.

The processes get a job as JSON, which names artifacts by ref, and run `training.launch.worker`.
What comes back is progress, the reason of a failure, and what the job made or found and the work
that took; the artifacts are found by their keys afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from artifacts.artifact import Artifact, Outcome
from artifacts.frozen import Frozen
from artifacts.jobs import Progress
from artifacts.processes import import_environment
from artifacts.store import Store
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions, check_options
from training.data.checks import check_inputs
from training.data.inputs import TrainInputs
from training.data.roles import ROLES
from training.evaluation.scored import Alphas, find_scored

SPEC, PROGRESS, DONE = "spec.json", "progress.json", "done.json"
FAILURE, LOG = "failure.txt", "log.txt"
"""Files in the directory that a job and its processes share."""
_POLL_S = 0.2
_PATIENCE_S = 20.0
"""How long the processes may take to end after they were asked to."""


class InputRefs(Frozen):
    """`TrainInputs` as JSON has it."""

    artifacts: dict[str, tuple[str, ...]]
    """Refs by role."""
    clip: dict[str, str] | None
    root: Path | None

    @classmethod
    def of(cls, inputs: TrainInputs) -> InputRefs:
        """What names the inputs."""
        return cls(
            artifacts={
                role.name: tuple(str(artifact.ref) for artifact in inputs.of(role))
                for role in ROLES.values()
            },
            clip=inputs.clip.model_dump() if inputs.clip else None,
            root=inputs.root,
        )

    def read(self, store: Store) -> TrainInputs:
        """The inputs, from the store."""
        clip = None
        if self.clip is not None:
            from knowledge.clip.weights import ClipSpec

            clip = ClipSpec(**self.clip)
        found: dict[str, Any] = {}
        for name, refs in self.artifacts.items():
            artifacts = tuple(store.get(ref) for ref in refs)
            found[name] = artifacts if ROLES[name].many else next(iter(artifacts), None)
        return TrainInputs(**found, clip=clip, root=self.root)


class Done(Frozen):
    """An `Outcome` as the processes hand it back, without the artifact."""

    made: bool
    work: dict[str, int]

    def of(self, artifact: Artifact) -> Outcome:
        """The outcome."""
        return Outcome(artifact, self.made, self.work)


class LaunchSpec(Frozen):
    """What the processes are to do: train with a config, or score a run on a split."""

    store: str
    inputs: InputRefs
    name: str | None
    """Of what is made; None: the run's and the split's."""
    runtime: RuntimeOptions
    config: RunConfig | None = None
    """For training."""
    run: str | None = None
    """For scoring, ref of the `training_run`."""
    split: str = "test"
    views: str | None = None
    wise_ft: tuple[float, ...] | None = None


def train(
    store: Store,
    inputs: TrainInputs,
    config: RunConfig,
    name: str,
    progress: Progress | None = None,
    runtime: RuntimeOptions | None = None,
) -> Outcome:
    """`training.loop.trainer.train`, on as many processes as `runtime` says.

    Raises:
        ValueError: as there, or a process died.
    """
    runtime = runtime or RuntimeOptions()
    check_options(runtime, config)
    check_inputs(inputs, config)
    origin = inputs.run_key(config, name)
    if found := store.find(origin):
        return Outcome(found, made=False)
    from training.distributed.group import started_by_torchrun
    from training.launch.threads import limited, with_threads
    from training.loop import trainer

    runtime = with_threads(runtime, config, inputs)
    if runtime.processes == 1 or started_by_torchrun():
        with limited(runtime.threads):
            return trainer.train(store, inputs, config, name, progress, runtime)
    refs = InputRefs.of(inputs)
    spec = LaunchSpec(store=_url(store), inputs=refs, name=name, runtime=runtime, config=config)
    [done] = run(spec, progress)
    return done.of(store.get(origin.ref))


def evaluate(
    store: Store,
    trained: Artifact,
    inputs: TrainInputs,
    split: str,
    name: str | None = None,
    progress: Progress | None = None,
    runtime: RuntimeOptions | None = None,
    views: str | None = None,
    wise_ft: Alphas = None,
) -> tuple[Outcome, Outcome]:
    """`training.evaluation.evaluate.evaluate`, on as many processes as `runtime` says.

    Raises:
        ValueError: as there, or a process died.
    """
    runtime = runtime or RuntimeOptions()
    given = (store, trained, inputs, split, name)
    if found := find_scored(*given, views, wise_ft):
        return found
    from training.distributed.group import started_by_torchrun
    from training.evaluation import evaluate as evaluation
    from training.launch.threads import limited

    if runtime.processes == 1 or started_by_torchrun():
        with limited(runtime.threads):
            return evaluation.evaluate(*given, progress, runtime, views, wise_ft)
    spec = LaunchSpec(
        store=_url(store),
        inputs=InputRefs.of(inputs),
        name=name,
        runtime=runtime,
        run=str(trained.ref),
        split=split,
        views=views,
        wise_ft=None if wise_ft is None else tuple(wise_ft),
    )
    done = run(spec, progress)
    made = find_scored(*given, views, wise_ft)
    assert made is not None
    predictions, metrics = (
        each.of(outcome.artifact) for each, outcome in zip(done, made, strict=True)
    )
    return predictions, metrics


def run(spec: LaunchSpec, progress: Progress | None = None) -> list[Done]:
    """Start the processes, show their progress, and end all of them if this one is interrupted.

    Returns:
        What they did, artifact by artifact.

    Raises:
        ValueError: one of them failed; the first reason.
    """
    with tempfile.TemporaryDirectory(prefix="actionlore-") as shared, ExitStack() as stack:
        directory = Path(shared)
        (directory / SPEC).write_text(spec.model_dump_json())
        log = stack.enter_context((directory / LOG).open("wb"))
        share = max(1, (os.cpu_count() or 1) // spec.runtime.processes)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(spec.runtime.processes)),
                *("-m", "training.launch.worker", str(directory), str(os.getpid())),
            ],
            env={
                **{"OMP_NUM_THREADS": str(share), **os.environ, **import_environment()},
                **({"OMP_NUM_THREADS": str(given)} if (given := spec.runtime.threads) else {}),
            },
            start_new_session=True,
            stdout=log,
            stderr=log,
        )
        try:
            _wait(process, directory, progress)
        finally:
            _end(process)
        if process.returncode:
            raise ValueError(_reason(directory, process.returncode))
        return [Done(**each) for each in json.loads((directory / DONE).read_text())]


def _reason(directory: Path, code: int) -> str:
    """Why a process failed: what it said, or the end of the log where it was killed."""
    if (directory / FAILURE).exists():
        return (directory / FAILURE).read_text()
    print((directory / LOG).read_text(errors="replace"), file=sys.stderr)
    return f"a training process died (torchrun's exit code is {code}); its output is above"


def _wait(process: subprocess.Popen[bytes], directory: Path, progress: Progress | None) -> None:
    told = ""
    while process.poll() is None:
        time.sleep(_POLL_S)
        path = directory / PROGRESS
        if progress and path.exists() and (text := path.read_text()) != told:
            told = text
            progress(*json.loads(text))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group; torchrun passes SIGTERM on to its workers."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _url(store: Store) -> str:
    """What opens the same store in another process."""
    return store.root if store.is_local else str(store.fs.unstrip_protocol(store.root))
