"""Which CLIP: architecture, weights, and the checks on them."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.files import file_sha256
from artifacts.frozen import Frozen

if TYPE_CHECKING:
    import torch

MODELS = Path(__file__).parent / "bundled"
"""Models that come with the package: NAME.json (open_clip config) beside NAME.safetensors."""


BUNDLED = "bundled"


class ClipSpec(Frozen):
    """Which CLIP model to load."""

    arch: str
    """open_clip architecture, e.g. `ViT-B-16-quickgelu`, or a model of this package."""
    weights: str
    """Pretrained tag of that architecture, path of a local checkpoint, or `bundled`."""


def checkpoint(spec: ClipSpec) -> Path:
    """The checkpoint file; where it is bundled, neither torch nor open_clip is imported.

    Raises:
        ValueError: as for `weights_path`.
    """
    bundled = MODELS / f"{spec.arch}.safetensors"
    return bundled if spec.weights == BUNDLED and bundled.is_file() else weights_path(spec)


def weights_path(spec: ClipSpec) -> Path:
    """The checkpoint file, fetched first when it is a tag that is not in the local cache.

    Raises:
        ValueError: unknown architecture, no such file or tag, no network, or a tag trained with
            the other GELU.
    """
    import open_clip
    from open_clip import pretrained

    if model_config(spec.arch) is None:
        near = difflib.get_close_matches(spec.arch, open_clip.list_models(), n=6, cutoff=0.4)
        raise ValueError(
            f"unknown CLIP architecture {spec.arch!r}; near it: {', '.join(near) or 'nothing'}"
        )
    if spec.weights == BUNDLED:
        path = MODELS / f"{spec.arch}.safetensors"
        if not path.exists():
            known = ", ".join(sorted(item.stem for item in MODELS.glob("*.safetensors")))
            raise ValueError(f"no bundled weights for {spec.arch!r}; bundled: {known or 'none'}")
        return path
    tag = open_clip.get_pretrained_cfg(spec.arch, spec.weights)
    if not tag:
        path = Path(spec.weights).expanduser()
        if path.is_file():
            return path
        tags = open_clip.list_pretrained_tags_by_model(spec.arch)
        raise ValueError(
            f"CLIP weights {spec.weights!r}: neither a file nor a tag of {spec.arch}; "
            f"give a checkpoint path or one of {', '.join(tags) or '(no tags)'}"
        )
    _check_gelu(spec, bool(tag.get("quick_gelu", False)), f"tag {spec.weights!r}")
    try:
        with quiet("huggingface_hub"):  # announces each of its retries
            return Path(pretrained.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"CLIP weights {spec.arch}/{spec.weights} are not cached and cannot be fetched "
            f"({str(error).splitlines()[0][:120]}); give a local checkpoint path instead"
        ) from error


def model_config(arch: str) -> dict[str, Any] | None:
    """open_clip's description of an architecture, also of a bundled one; None: unknown."""
    import open_clip

    _register_bundled()
    found: dict[str, Any] | None = open_clip.get_model_config(arch)
    return found


def load_weights(model: Any, path: Path, spec: ClipSpec) -> None:
    """Put the tensors of a checkpoint into a model that was built for them.

    Raises:
        ValueError: the file is damaged, of another architecture, or trained with the other GELU.
    """
    from open_clip import factory

    if path.suffix == ".safetensors":
        from safetensors import safe_open

        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
        except Exception as error:  # safetensors raises its own type for a damaged header
            raise ValueError(f"{path}: not a safetensors file ({error})") from error
        if "quick_gelu" in metadata:
            _check_gelu(spec, metadata["quick_gelu"] == "true", str(path))
    try:
        state = factory.load_state_dict(str(path))
        state = factory.convert_state_dict(model, dict(state))
        _check_tensors(model.state_dict(), state)
        model.load_state_dict(state, strict=True)
    except Exception as error:  # damaged pickles and archives raise whatever they like
        raise ValueError(
            f"{path} does not hold weights of {spec.arch}: {str(error).strip().splitlines()[0]}; "
            "give the architecture it was saved from, as safetensors or a plain state dict"
        ) from error


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


@contextmanager
def quiet(logger: str | None) -> Iterator[None]:
    """Keeps a library's warnings (None: those on the root logger) from the terminal."""
    log = logging.getLogger(logger)
    level, handler = log.level, logging.NullHandler()
    log.addHandler(handler)  # without any, logging.warning() sets the root logger up for all
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def _check_gelu(spec: ClipSpec, trained_quick: bool, where: str) -> None:
    built_quick = bool((model_config(spec.arch) or {}).get("quick_gelu", False))
    if trained_quick != built_quick:
        base = spec.arch.removesuffix("-quickgelu")
        right = f"{base}-quickgelu" if trained_quick else base
        raise ValueError(
            f"{spec.arch} would run {where} with {'Quick' if built_quick else 'exact '}GELU, "
            f"but it was trained with the other; use --clip {right}"
        )


@lru_cache(maxsize=8)
def _sha256_at(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def weights_sha256(path: Path) -> str:
    """SHA-256 (hex) of a checkpoint, computed once for as long as the file does not change."""
    stat = path.stat()
    return _sha256_at(path, stat.st_size, stat.st_mtime_ns)


@cache
def _register_bundled() -> None:
    import open_clip

    open_clip.add_model_config(MODELS)
