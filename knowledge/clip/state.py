"""From a checkpoint file to a model's weights.

Checkpoints come as safetensors, as a pickled state dict (loaded without running what it says), with
a trainer's prefixes before the names, as the TorchScript archives that OpenAI published, and as
big_vision's .npz.
"""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowledge.clip.architecture import first_line
from knowledge.clip.weights import ClipSpec, check_gelu, other_gelu

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

QUICK_GELU, PREPROCESS = "quick_gelu", "preprocess"
"""What the metadata of a safetensors file may tell: `true` or `false`, and a `Preprocess`."""

_OF_OPENAI = ("input_resolution", "context_length", "vocab_size")
"""Numbers among the tensors of OpenAI's archives, which all have QuickGELU."""
_FORMS = "as safetensors or a plain state dict"


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; none of other files.

    Raises:
        ValueError: the file is damaged.
    """
    if path.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # safetensors raises its own type for a damaged header
        raise ValueError(f"{path}: not a safetensors file ({error})") from error


def load_weights(model: Any, path: Path, spec: ClipSpec) -> None:
    """Put the tensors of a checkpoint into a model that was built for them.

    Weights that do not say which GELU they were trained with are taken with a warning, where
    open_clip has the architecture with both.

    Raises:
        ValueError: the file is damaged, of another architecture, or trained with the other GELU.
    """
    told = metadata_of(path).get(QUICK_GELU)
    trained_quick = None if told is None else told == "true"
    try:
        if path.suffix in (".npz", ".npy"):
            from open_clip.convert import load_big_vision_weights

            load_big_vision_weights(model, str(path))
            return
        state, of_archive = _read(path)
        if trained_quick is None:
            trained_quick = True if any(name in state for name in _OF_OPENAI) else of_archive
        state = _fitted(model, {k: v for k, v in state.items() if k not in _OF_OPENAI})
        _check_tensors(model.state_dict(), state)
    except Exception as error:  # damaged pickles and archives raise whatever they like
        raise ValueError(
            f"{path} does not hold weights of {spec.arch}: {first_line(error)}; give the "
            f"architecture it was saved from, {_FORMS}"
        ) from error
    if trained_quick is not None:
        check_gelu(spec, trained_quick, str(path))
    elif Path(spec.weights).expanduser() == path and (other := other_gelu(spec.arch)):
        _warn(path, spec.arch, other)
    model.load_state_dict(state, strict=True)


@cache  # once
def _warn(path: Path, arch: str, other: str) -> None:
    quick = max(arch, other, key=len)
    logging.getLogger(__name__).warning(
        "%s does not say which GELU it was trained with, and is run as %s; if it is of OpenAI, "
        "MetaCLIP or DFN it wants --clip %s, of most others --clip %s",
        *(path, arch, quick, quick.removesuffix("-quickgelu")),
    )


def _read(path: Path) -> tuple[State, bool | None]:
    """The tensors, and whether an archive's code has QuickGELU."""
    from open_clip import factory

    if path.suffix == ".safetensors" or not (code := _code(path)):
        return dict(factory.load_state_dict(str(path))), None
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit will go
        state = torch.jit.load(str(path), map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    if "sigmoid(" in code:  # QuickGELU(x) = x sigmoid(1.702 x)
        return dict(state), True
    return dict(state), False if "gelu(" in code else None


def _code(path: Path) -> str:
    """The code of a TorchScript archive; empty where the file is none."""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
        return "\n".join(archive.read(name).decode("utf-8", "replace") for name in names)


def _fitted(model: Any, state: State) -> State:
    """The tensors under the names and shapes that the model has, as open_clip converts them."""
    from open_clip import factory

    if any(name.startswith("vision_model.") for name in state):
        raise ValueError(
            "its names are those of transformers' CLIPModel, not of open_clip; take the same "
            "weights by their open_clip tag"
        )
    found = _without_prefix(state)
    found = dict(factory.convert_state_dict(model, found))
    if "positional_embedding" in found and not hasattr(model, "positional_embedding"):
        found = dict(factory.convert_to_custom_text_state_dict(found))
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if own is not None and name in found and found[name].numel() == 1:
            found[name] = found[name].reshape(own.shape)
    if getattr(model, "logit_bias", None) is not None and "logit_bias" not in found:
        found["logit_bias"] = found["logit_scale"].new_zeros(model.logit_bias.shape)
    kept = model.state_dict()
    computed = {name for name, _ in model.named_buffers()} - kept.keys()  # archives hold them
    computed |= {"text.transformer.embeddings.position_ids"} - kept.keys()  # transformers did once
    return {name: value for name, value in found.items() if name not in computed}


def _without_prefix(state: State) -> State:
    """The tensors without what trainers write before all names, such as `module.`."""
    scales = [name for name in state if name.endswith(".logit_scale")]
    if "logit_scale" in state or len(scales) != 1:
        return state
    prefix = scales[0].removesuffix("logit_scale")
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _check_tensors(built: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Names the first tensor that does not fit, which load_state_dict does over many lines."""
    for name in [*built, *saved]:
        if name not in saved:
            raise ValueError(f"it has no {name}")
        if name not in built:
            raise ValueError(f"its {name} has no place there")
        if built[name].shape != saved[name].shape:
            raise ValueError(
                f"its {name} is {tuple(saved[name].shape)} instead of {tuple(built[name].shape)}"
            )
