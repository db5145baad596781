"""Training, from artifacts to a published `training_run`. It knows no model.

A run is trained by gradient steps (`training.loop.epochs`) or fitted in one pass
(`training.loop.fit`), as its method says.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from artifacts.artifact import Outcome
from artifacts.draft import Draft
from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from artifacts.store import Store
from training.config.method_code import code_free_key, short_code
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions, check_options
from training.data.checks import check_inputs
from training.data.inputs import TrainInputs, clip_identity
from training.distributed.group import current_group
from training.loop.epochs import begin, train_by_steps
from training.loop.fit import FitRun, begin_fit, fit
from training.loop.resume import RunCheckpoints
from training.loop.state import Trained
from training.models import weights
from training.models.build import default_device


def train(
    store: Store,
    inputs: TrainInputs,
    config: RunConfig,
    name: str,
    progress: Progress | None = None,
    runtime: RuntimeOptions | None = None,
) -> Outcome:
    """Train a model and publish it as `training_run/NAME`; found by its key, nothing is done.

    A run that was stopped goes on from its last checkpoint and gives the same bytes, on the CPU, as
    if it had not been. Under torchrun all processes call this with the same arguments.

    Args:
        store: where to look and publish.
        inputs: the artifacts, and CLIP and the videos where the config wants videos.
        config: the whole run.
        name: of the artifact; not part of its key.
        progress: called after each step.
        runtime: device, processes, checkpoints; not part of the key either.

    Raises:
        ValueError: inputs that do not belong together or to the config, no video to train on, more
            unreadable videos than allowed, a loss that is not finite, a checkpoint of another run,
            or options without effect.
    """
    runtime = runtime or RuntimeOptions()
    check_options(runtime, config)
    check_inputs(inputs, config)
    origin = inputs.run_key(config, name)
    if found := store.find(origin):
        return Outcome(found, made=False)
    device = torch.device(runtime.device) if runtime.device else default_device()
    group = current_group(device, runtime.processes)
    given = (inputs, config, group, runtime, progress if group.is_first else None)
    run = begin_fit(*given) if config.model.is_fitted else begin(*given)
    with contextlib.ExitStack() as stack:
        draft = None
        if group.is_first:
            draft = stack.enter_context(contextlib.closing(store.draft(origin)))
        directory = Path(group.broadcast_object(str(draft.directory) if draft else None))
        checkpoints = RunCheckpoints(
            *(directory, origin.key, runtime.keep_checkpoints),
            about={"code_free_key": code_free_key(origin), "code": short_code(origin.config)},
        )
        made = fit(run) if isinstance(run, FitRun) else train_by_steps(run, checkpoints)
        if draft is not None:
            made.report["code"] = short_code(origin.config)
            _publish(draft, made, config, clip_identity(inputs.texts))
        group.barrier()
        return Outcome(store.get(origin.ref), made=True, work=made.work)


def _publish(draft: Draft, made: Trained, config: RunConfig, clip: dict[str, str]) -> None:
    """The run's rows, weights and report; its checkpoints go once they are in the store."""
    facts: dict[str, Any] = {"clip": clip, "dim": made.dim}
    report = dict(made.report)
    if made.from_start:
        facts["from_start"] = sorted(made.from_start)
        report["weights_from_start"] = len(made.from_start)
        report["weights_from_clip"] = len(made.tensors.keys() - made.from_start)
    draft.write(pa.Table.from_pylist(made.rows, schema=schema_of("training_run").arrow()))
    about = {"config": config.model_dump(mode="json"), **facts}
    draft.write_file(weights.FILE, weights.save(made.tensors, about))
    draft.publish(report, facts)
