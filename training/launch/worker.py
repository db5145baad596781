"""One of the processes that torchrun started for `training.launch.launch`: does its share of a job.

Started as `python -m training.launch.worker DIRECTORY PID`; it ends when process PID, torchrun or
its job does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

from artifacts.files import replacing, write_first
from artifacts.store import Store
from training.launch.launch import DONE, FAILURE, PROGRESS, SPEC, LaunchSpec

_POLL_S = 1.0


def main() -> None:
    """Do the job of the directory given."""
    directory, launcher = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(launcher, os.getppid()), daemon=True).start()
    spec = LaunchSpec.model_validate_json((directory / SPEC).read_text())
    try:
        work(spec, directory)
    except Exception as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        traceback.print_exc()
        write_first(directory / FAILURE, reason.encode())
        os._exit(1)  # without waiting for the others, who may wait for this one


def work(spec: LaunchSpec, directory: Path) -> None:
    """Train or score, together with the other processes."""
    store = Store(spec.store)
    inputs = spec.inputs.read(store)
    from training.distributed.group import joined
    from training.evaluation.evaluate import evaluate
    from training.loop.trainer import train

    def progress(done: int, total: int) -> None:
        with replacing(directory / PROGRESS, durable=False) as path:
            path.write_text(f"[{done}, {total}]")

    with joined(spec.runtime.device) as device:
        runtime = spec.runtime.model_copy(update={"device": str(device)})
        if spec.config is not None:
            assert spec.name is not None
            outcomes = [train(store, inputs, spec.config, spec.name, progress, runtime)]
        else:
            assert spec.run is not None
            outcomes = list(
                evaluate(
                    store,
                    store.get(spec.run),
                    inputs,
                    spec.split,
                    spec.name,
                    progress,
                    runtime,
                    spec.views,
                    spec.wise_ft,
                )
            )
        if os.environ["RANK"] == "0":
            done = [{"made": each.made, "work": dict(each.work)} for each in outcomes]
            (directory / DONE).write_text(json.dumps(done))


def _end_with(launcher: int, parent: int) -> None:
    """End this process when the one that asked for the job, or torchrun, is gone."""
    while os.getppid() == parent and _exists(launcher):
        time.sleep(_POLL_S)
    os._exit(1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
