"""One run on several processes: starts torchrun and waits for it.

The processes get a job as JSON, which names artifacts by ref, and run `training.launch.worker`.
Nothing comes back but progress and the reason of a failure: what they make is found by its key
afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from artifacts.artifact import Artifact
from artifacts.store import Store
from training.config.run import RunConfig
from training.config.runtime import RuntimeConfig
from training.data.inputs import TrainInputs

SPEC, PROGRESS, FAILURE, LOG = "spec.json", "progress.json", "failure.txt", "log.txt"
"""Files in the directory that a job and its processes share."""
_POLL_S = 0.2
_PATIENCE_S = 20.0
"""How long the processes may take to end after they were asked to."""

Progress = Callable[[int, int], None]


class InputRefs(BaseModel):
    """`TrainInputs` as JSON has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifacts: dict[str, str]
    """Ref by field of `TrainInputs`."""
    corpora: tuple[str, ...]
    clip: dict[str, str] | None
    root: Path | None

    @classmethod
    def of(cls, inputs: TrainInputs) -> InputRefs:
        """What names the inputs."""
        return cls(
            artifacts={
                name: full_ref(value)
                for name, value in vars(inputs).items()
                if isinstance(value, Artifact)
            },
            corpora=tuple(full_ref(corpus) for corpus in inputs.corpora),
            clip=inputs.clip.model_dump() if inputs.clip else None,
            root=inputs.root,
        )

    def read(self, store: Store) -> TrainInputs:
        """The inputs, from the store."""
        clip = None
        if self.clip is not None:
            from knowledge.clip.weights import ClipSpec

            clip = ClipSpec(**self.clip)
        return TrainInputs(
            **{name: store.get(ref) for name, ref in self.artifacts.items()},
            corpora=tuple(store.get(ref) for ref in self.corpora),
            clip=clip,
            root=self.root,
        )


class LaunchSpec(BaseModel):
    """What the processes are to do: train with a config, or score a run on a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    inputs: InputRefs
    name: str
    runtime: RuntimeConfig
    config: RunConfig | None = None
    """For training."""
    run: str | None = None
    """For scoring, ref of the `training_run`."""
    split: str = "test"
    views: str | None = None


def full_ref(artifact: Artifact) -> str:
    """The ref of exactly this artifact."""
    return str(artifact.ref)


def train_together(
    store: Store,
    inputs: TrainInputs,
    config: RunConfig,
    name: str,
    progress: Progress | None,
    runtime: RuntimeConfig,
) -> None:
    """`trainer.train` on `runtime.processes` processes.

    Raises:
        ValueError: as for `trainer.train`, or a process died.
    """
    refs = InputRefs.of(inputs)
    run(
        LaunchSpec(store=_url(store), inputs=refs, name=name, runtime=runtime, config=config),
        progress,
    )


def evaluate_together(
    store: Store,
    trained: Artifact,
    inputs: TrainInputs,
    split: str,
    name: str,
    progress: Progress | None,
    runtime: RuntimeConfig,
    views: str | None,
) -> None:
    """`evaluation.evaluate` on `runtime.processes` processes.

    Raises:
        ValueError: as for `evaluation.evaluate`, or a process died.
    """
    spec = LaunchSpec(
        store=_url(store),
        inputs=InputRefs.of(inputs),
        name=name,
        runtime=runtime,
        run=full_ref(trained),
        split=split,
        views=views,
    )
    run(spec, progress)


def run(spec: LaunchSpec, progress: Progress | None = None) -> None:
    """Start the processes, show their progress, and end all of them if this one is interrupted.

    Raises:
        ValueError: one of them failed; the first reason.
    """
    with tempfile.TemporaryDirectory(prefix="actionlore-") as shared, ExitStack() as stack:
        directory = Path(shared)
        (directory / SPEC).write_text(spec.model_dump_json())
        log = stack.enter_context((directory / LOG).open("wb"))
        threads = max(1, (os.cpu_count() or 1) // spec.runtime.processes)
        paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(spec.runtime.processes)),
                *("-m", "training.launch.worker", str(directory), str(os.getpid())),
            ],
            env={"OMP_NUM_THREADS": str(threads)}
            | os.environ
            | {"PYTHONPATH": os.pathsep.join(paths)},
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
