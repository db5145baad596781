"""Frozen CLIP: which model, its identity, and texts or frames to unit rows.

Legend: N images, D embedding.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip import factory, pretrained
from pydantic import BaseModel, ConfigDict

from knowledge.clip.tokens import MAX_TOKENS, clip_tokens

MODELS = Path(__file__).parent / "bundled"
"""Models that come with the package: NAME.json (open_clip config) beside NAME.safetensors."""

BUNDLED = "bundled"


class ClipSpec(BaseModel):
    """Which CLIP model to load."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arch: str
    """open_clip architecture, e.g. `ViT-B-16-quickgelu`, or a model of this package."""
    weights: str
    """Pretrained tag of that architecture, path of a local checkpoint, or `bundled`."""


@dataclass(frozen=True)
class Clip:
    """A loaded, frozen model in evaluation mode."""

    model: Any
    """open_clip.CLIP in float32; no parameter requires a gradient."""
    identity: dict[str, str]
    """`arch` and `weights_sha256`: what artifact keys say about the model."""
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    device: torch.device

    @property
    def dim(self) -> int:
        """Width D of the joint embedding."""
        return int(self.model.text_projection.shape[1])

    @property
    def logit_scale(self) -> float:
        """Factor on cosines in CLIP's own softmax, exp of the learnt parameter."""
        return float(self.model.logit_scale.exp())

    def pixels(self, images_N3HW: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 images on the model's device: (N, 3, H, W) float32."""
        images = images_N3HW.to(self.device).float()
        mean = images.new_tensor(self.mean).mul(255).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).mul(255).view(1, 3, 1, 1)
        return (images - mean) / std


def load_clip(spec: ClipSpec, device: str = "cpu") -> Clip:
    """Load and freeze a model in float32.

    Features of `knowledge.embedding.engine` in bf16 differ from this model's by about 1 %: a model
    trained on such cached embeddings and tested from videos meets that difference.

    Raises:
        ValueError: unknown architecture or tag, missing or unreachable weights, weights of another
            architecture, or weights trained with the other GELU.
    """
    path = weights_path(spec)
    with _quiet(None):  # open_clip warns that the model is random: its weights come next
        model = open_clip.create_model(spec.arch, pretrained=None, precision="fp32")
    _load_weights(model, path, spec)
    model.eval().requires_grad_(False)
    visual = model.visual
    cfg = open_clip.get_pretrained_cfg(spec.arch, spec.weights) or {}
    size = visual.image_size
    return Clip(
        model=model.to(device),
        identity={"arch": spec.arch, "weights_sha256": _sha256(path)},
        image_size=int(size[0] if isinstance(size, tuple) else size),
        mean=tuple(cfg.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        std=tuple(cfg.get("std") or open_clip.OPENAI_DATASET_STD),
        device=torch.device(device),
    )


class LazyClip:
    """A model that is loaded when first used: jobs found by key need only its identity."""

    def __init__(self, spec: ClipSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.device = device

    @cached_property
    def identity(self) -> dict[str, str]:
        """What `load_clip(spec).identity` would be, without building the model.

        Raises:
            ValueError: as for `weights_path`.
        """
        return {"arch": self.spec.arch, "weights_sha256": _sha256(weights_path(self.spec))}

    @cached_property
    def clip(self) -> Clip:
        """The loaded model.

        Raises:
            ValueError: as for `load_clip`.
        """
        return load_clip(self.spec, self.device)


def weights_path(spec: ClipSpec) -> Path:
    """The checkpoint file, fetched first when it is a tag that is not in the local cache.

    Raises:
        ValueError: unknown architecture, no such file or tag, no network, or a tag trained with
            the other GELU.
    """
    _register_bundled()
    if open_clip.get_model_config(spec.arch) is None:
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
        with _quiet("huggingface_hub"):  # announces each of its retries
            return Path(pretrained.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"CLIP weights {spec.arch}/{spec.weights} are not cached and cannot be fetched "
            f"({str(error).splitlines()[0][:120]}); give a local checkpoint path instead"
        ) from error


@torch.inference_mode()
def encode_frames(clip: Clip, images_N3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode uint8 images of the model's size.

    Returns:
        Unit rows (N, D) and the lengths (N,) of the features before normalisation, float32 on CPU.
    """
    features = clip.model.encode_image(clip.pixels(images_N3HW)).float()
    return _unit_rows(features)


@torch.inference_mode()
def encode_texts(clip: Clip, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode texts.

    Returns:
        Unit rows (N, D) and feature lengths (N,), float32 on CPU.

    Raises:
        ValueError: a text is longer than CLIP's context.
    """
    for text in texts:
        if (length := clip_tokens(text)) > MAX_TOKENS:
            raise ValueError(
                f"text {text[:60]!r}... has {length} CLIP tokens, at most {MAX_TOKENS} fit; "
                "shorten it"
            )
    tokenizer = open_clip.get_tokenizer(clip.identity["arch"])
    features = [
        clip.model.encode_text(tokenizer(texts[start : start + 64]).to(clip.device)).float()
        for start in range(0, len(texts), 64)
    ]
    return _unit_rows(torch.cat(features))


def _unit_rows(features_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    norms = features_ND.norm(dim=-1)
    return (features_ND / norms[:, None]).cpu(), norms.cpu()


def _load_weights(model: Any, path: Path, spec: ClipSpec) -> None:
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
def _quiet(logger: str | None) -> Iterator[None]:
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
    built_quick = bool((open_clip.get_model_config(spec.arch) or {}).get("quick_gelu", False))
    if trained_quick != built_quick:
        base = spec.arch.removesuffix("-quickgelu")
        right = f"{base}-quickgelu" if trained_quick else base
        raise ValueError(
            f"{spec.arch} would run {where} with {'Quick' if built_quick else 'exact '}GELU, "
            f"but it was trained with the other; use --clip {right}"
        )


@lru_cache(maxsize=8)
def _sha256_at(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_at(path, stat.st_size, stat.st_mtime_ns)


@cache
def _register_bundled() -> None:
    open_clip.add_model_config(MODELS)
