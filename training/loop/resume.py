"""Checkpoints of a run in progress, from which it goes on as if it had never been stopped.

A checkpoint is two files: safetensors with every tensor, and JSON with everything else and the
tensors' SHA-256. The JSON is written last, so what has one is complete; what does not match its
SHA-256 is damaged, and the run goes on from the checkpoint before.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from artifacts.files import file_sha256, replacing
from training.loop.earlier import PREFIX

_VERSION = 1


class _DamagedError(ValueError):
    """A checkpoint cannot be read."""


@dataclass(frozen=True, eq=False)
class Saved:
    """What a checkpoint holds."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    """As JSON has it; real numbers come back to the bit."""


@dataclass
class RunCheckpoints:
    """The checkpoints of one run, in a directory of its own."""

    directory: Path
    key: str
    """The run's, which stands for its config and inputs; those of another one are refused."""
    keep: int = 2
    """Newest checkpoints kept."""
    about: dict[str, str] = field(default_factory=dict)
    """What else is to be known of the run without reading its tensors."""
    damaged: list[str] = field(default_factory=list)
    """What was wrong with those that could not be read."""
    saved_at: float = field(default_factory=time.monotonic)
    """When the last one was saved, or this was made."""

    def save(self, step: int, saved: Saved) -> None:
        """Store a checkpoint, durably and in one step, and remove the oldest.

        Args:
            step: optimiser steps so far; a checkpoint of the same step is replaced.
            saved: tensors on any device.
        """
        path = self._path(step)
        path.unlink(missing_ok=True)
        plain = {name: each.detach().cpu().contiguous() for name, each in saved.tensors.items()}
        with replacing(path.with_suffix(".safetensors")) as temporary:
            save_file(plain, temporary)
            sha256 = file_sha256(temporary)
        entry = {
            "version": _VERSION,
            "key": self.key,
            "sha256": sha256,
            "facts": saved.facts,
            **self.about,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(entry))
        for old in self._steps()[: -self.keep]:
            self._remove(old)
        self.saved_at = time.monotonic()

    def latest(self) -> int | None:
        """Step of the newest checkpoint that is whole, or None; leftovers are removed.

        Raises:
            ValueError: it belongs to another config.
        """
        steps = self._steps()
        for path in self.directory.glob(f"{PREFIX}*"):
            if path.stem.removeprefix(PREFIX) not in {f"{step:09d}" for step in steps}:
                path.unlink()
        for step in reversed(steps):
            try:
                self.read(step)
            except _DamagedError as error:
                self.damaged.append(f"step {step}: {error}")
            else:
                return step
        return None

    def read(self, step: int) -> Saved:
        """A checkpoint.

        Raises:
            ValueError: it is damaged, or belongs to another config.
        """
        path = self._path(step)
        tensors = path.with_suffix(".safetensors")
        try:
            entry = json.loads(path.read_bytes())
            if not (entry["version"] == _VERSION and entry["key"] == self.key):
                raise ValueError(
                    f"{path} is a checkpoint of a run with another config; remove "
                    f"{self.directory} to start anew"
                )
            if file_sha256(tensors) != entry["sha256"]:
                raise _DamagedError("the SHA-256 of its tensors differs")
            return Saved(load_file(tensors), entry["facts"])
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, OSError) as error:
            raise _DamagedError(f"{type(error).__name__}: {error}") from error

    def _path(self, step: int) -> Path:
        return self.directory / f"{PREFIX}{step:09d}.json"

    def _steps(self) -> list[int]:
        """Steps that have a description, rising."""
        found = (path.stem.removeprefix(PREFIX) for path in self.directory.glob(f"{PREFIX}*.json"))
        return sorted(int(each) for each in found if each.isdigit())

    def _remove(self, step: int) -> None:
        for path in (self._path(step), self._path(step).with_suffix(".safetensors")):
            path.unlink(missing_ok=True)
