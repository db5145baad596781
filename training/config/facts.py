"""What the weights of a run say of themselves, without reading them; no torch is imported."""

from __future__ import annotations

import io
import json
from typing import IO, Any

from artifacts.artifact import Artifact
from training.config.method_code import without_code

FILE = "model.safetensors"
"""Of a `training_run`."""
ENTRY = "actionlore"
"""The only metadata entry: safetensors does not keep the order of several, and equal runs would
differ."""


def run_facts(run: Artifact) -> dict[str, Any]:
    """`config` of a run, `clip` identity, `dim`, and `from_start` where it has a start.

    Raises:
        ValueError: its file is no checkpoint of a training run.
        CorruptArtifactError: the file is missing or damaged.
    """
    if run.manifest.facts:
        return {"config": without_code(run.manifest.config), **run.manifest.facts}
    data = run.read_file(FILE)  # published before runs had facts
    try:
        return facts_in(io.BytesIO(data))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{run.ref} is not a checkpoint of a training run ({error})") from error


def facts_in(file: IO[bytes]) -> dict[str, Any]:
    """The facts in the header of a safetensors file.

    Raises:
        ValueError: it has no header.
        KeyError: the header has no facts.
    """
    header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    found: dict[str, Any] = json.loads(header["__metadata__"][ENTRY])
    return found
