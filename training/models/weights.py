"""Weights as safetensors bytes, never pickle, with what rebuilds the model around them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from artifacts.provenance import canonical_json
from training.config.facts import ENTRY, FILE, facts_in

__all__ = ["FILE", "Checkpoint", "load", "restore", "save"]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights and the facts that belong to them."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]
    """`config` of the run, `clip` identity, `dim`."""


def save(tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> bytes:
    """A checkpoint as bytes; equal content gives equal bytes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save_safetensors(plain, {ENTRY: canonical_json(facts)})


def load(data: bytes, where: str) -> Checkpoint:
    """Read a checkpoint.

    Args:
        data: its bytes.
        where: for the error message.

    Raises:
        ValueError: the bytes are no checkpoint of a training run.
    """
    try:
        tensors = load_safetensors(data)
        facts = facts_in(io.BytesIO(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{where} is not a checkpoint of a training run ({error})") from error
    return Checkpoint(tensors, facts)


def restore(model: nn.Module, tensors: dict[str, torch.Tensor], expected: set[str]) -> None:
    """Load weights into a model.

    Args:
        model: of the architecture the weights were saved from.
        tensors: the weights.
        expected: names the checkpoint must hold.

    Raises:
        ValueError: a weight is missing, unknown or of another shape.
    """
    if missing := sorted(expected - tensors.keys()):
        raise ValueError(f"the checkpoint lacks {_some(missing)}: it is of another architecture")
    if unknown := sorted(tensors.keys() - expected):
        raise ValueError(
            f"the checkpoint holds {_some(unknown)}, which the model has not: "
            "it is of another architecture"
        )
    state = model.state_dict()
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"{name} has shape {list(tensor.shape)} in the checkpoint and "
                f"{list(state[name].shape)} in the model: it is of another architecture"
            )
    model.load_state_dict(tensors, strict=False)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{rest}"
