"""A frozen CLIP: loaded and identified, and its embeddings of texts and frames.

Legend: N images, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import open_clip
import torch

from knowledge.clip.tokens import MAX_TOKENS, clip_tokens
from knowledge.clip.weights import ClipSpec, load_weights, quiet, weights_path, weights_sha256


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
    with quiet(None):  # open_clip warns that the model is random: its weights come next
        model = open_clip.create_model(spec.arch, pretrained=None, precision="fp32")
    load_weights(model, path, spec)
    model.eval().requires_grad_(False)
    visual = model.visual
    cfg = open_clip.get_pretrained_cfg(spec.arch, spec.weights) or {}
    size = visual.image_size
    return Clip(
        model=model.to(device),
        identity={"arch": spec.arch, "weights_sha256": weights_sha256(path)},
        image_size=int(size[0] if isinstance(size, tuple) else size),
        mean=tuple(cfg.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        std=tuple(cfg.get("std") or open_clip.OPENAI_DATASET_STD),
        device=torch.device(device),
    )


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
