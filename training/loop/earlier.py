"""What there is of the same run by other code of its method, which is never gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artifacts.provenance import Provenance
from artifacts.store import Store
from training.config.method_code import code_free_key, short_code

PREFIX = ".checkpoint-"
"""Of the files of a checkpoint, in the directory of a run's draft."""


def made_by_other_code(store: Store, origin: Provenance) -> str | None:
    """One line on a finished or started run that differs in code alone; None: there is none.

    Args:
        store: where runs and their drafts are.
        origin: of the run that is to be made.
    """
    if store.find(origin) is not None:
        return None
    same, now = code_free_key(origin), short_code(origin.config)
    new = f"{origin.kind}/{origin.name} is a new run"
    method = origin.config["model"]["name"]
    started = [e for e in _checkpoints(store.drafts) if e.get("code_free_key") == same]
    if any(entry["key"] == origin.key for entry in started):
        return None  # it goes on from there
    if started:
        was, step = started[-1]["code"], started[-1]["facts"]["step"]
        return (
            f"a run that was stopped at step {step} was begun by other code of {method} ({was}, "
            f"now {now}): {new}, from step 0"
        )
    for run in reversed(store.published(origin.kind)):
        if code_free_key(run) == same:
            was = short_code(run.manifest.config)
            return f"{run.ref} was made by other code of {method} ({was}, now {now}): {new}"
    return None


def _checkpoints(drafts: Path) -> Iterator[dict[str, Any]]:
    """What the readable checkpoints of all started runs say, but for their tensors."""
    for path in sorted(drafts.glob(f"training_run-*@*/{PREFIX}*.json")):
        try:
            entry = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue  # damaged, or just removed by the process that trains
        if isinstance(entry, dict):
            yield entry
