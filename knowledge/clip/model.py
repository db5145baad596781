"""A frozen CLIP: loaded and identified, and its embeddings of texts and frames.

Legend: N images, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from knowledge.clip.architecture import model_config, new_model, new_tokenizer
from knowledge.clip.identity import identity
from knowledge.clip.preprocess import Preprocess, preprocess_of
from knowledge.clip.state import load_weights
from knowledge.clip.tokens import Tokens
from knowledge.clip.weights import ClipSpec, weights_path


@dataclass(frozen=True)
class Clip:
    """A loaded, frozen model in evaluation mode."""

    model: Any
    """One of open_clip's with encode_image and encode_text, in float32; no parameter requires a
    gradient."""
    spec: ClipSpec
    identity: dict[str, str]
    """What artifact keys say about the model."""
    dim: int
    """Width D of the joint embedding."""
    image_size: int
    preprocess: Preprocess
    device: torch.device

    @property
    def mean(self) -> tuple[float, ...]:
        """Of red, green and blue in [0, 1]."""
        return self.preprocess.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of the same."""
        return self.preprocess.std

    @property
    def logit_scale(self) -> float:
        """Factor on cosines in CLIP's own softmax, exp of the learnt parameter."""
        return float(self.model.logit_scale.exp())

    @cached_property
    def tokens(self) -> Tokens:
        """The model's tokenizer.

        Raises:
            ValueError: as for `new_tokenizer`.
        """
        return Tokens(new_tokenizer(self.spec.arch))

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
            architecture, weights trained with the other GELU, or a package that the model needs.
    """
    path = weights_path(spec)
    model = new_model(spec.arch)
    load_weights(model, path, spec)
    model.eval().requires_grad_(False)
    return Clip(
        model=model.to(device),
        spec=spec,
        identity=identity(spec),
        dim=int((model_config(spec.arch) or {})["embed_dim"]),
        image_size=_square(model.visual.image_size, spec.arch),
        preprocess=preprocess_of(spec, path),
        device=torch.device(device),
    )


def _square(size: Any, arch: str) -> int:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if sides[0] != sides[1]:
        raise ValueError(
            f"--clip {arch} sees pictures of {sides[0]} x {sides[1]} pixels; only squares can be "
            "given to a model; choose another architecture"
        )
    return int(sides[0])


def first_output(features: Any) -> torch.Tensor:
    """The embedding that a tower gives, also where tokens come with it (CoCa)."""
    embedding: torch.Tensor = features[0] if isinstance(features, tuple) else features
    return embedding


@torch.inference_mode()
def encode_frames(clip: Clip, images_N3HW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode uint8 images of the model's size.

    Returns:
        Unit rows (N, D) and the lengths (N,) of the features before normalisation, float32 on CPU.
    """
    features = clip.model.encode_image(clip.pixels(images_N3HW), normalize=False).float()
    return _unit_rows(features)


@torch.inference_mode()
def encode_texts(clip: Clip, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode texts.

    Returns:
        Unit rows (N, D) and feature lengths (N,), float32 on CPU.

    Raises:
        ValueError: a text is longer than the model's context.
    """
    tokens_NL = clip.tokens(texts)
    features = [
        clip.model.encode_text(part.to(clip.device), normalize=False).float()
        for part in torch.split(tokens_NL, 64)
    ]
    return _unit_rows(torch.cat(features))


def _unit_rows(features_ND: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    norms = features_ND.norm(dim=-1)
    return (features_ND / norms[:, None]).cpu(), norms.cpu()
