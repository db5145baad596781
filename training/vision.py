"""CLIP's image tower within a model that is trained end to end, frozen or not.

Legend: B videos, T frames, D embedding, S pixels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from knowledge.clip import Clip
from training.config import VisionConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FROZEN_IMAGES = 64
"""Images per forward pass where no gradient is kept."""


class ImageTower(nn.Module):
    """uint8 clips to CLIP features; float32 weights, of which `config` says which are trained."""

    def __init__(
        self, clip: Clip, config: VisionConfig, normalize: Literal["clip", "imagenet"]
    ) -> None:
        """Take over the image tower of a loaded CLIP.

        Raises:
            ValueError: `last_n` of a tower without transformer blocks, or more than it has.
        """
        super().__init__()
        self.visual: Any = clip.model.visual
        self.image_size = clip.image_size
        self.trained = config.trainable != "none"
        mean, std = (clip.mean, clip.std) if normalize == "clip" else (IMAGENET_MEAN, IMAGENET_STD)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)
        self.visual.requires_grad_(config.trainable == "all")
        if config.trainable == "last_n":
            for part in _last_parts(self.visual, config.last_n):
                part.requires_grad_(True)

    def forward(self, clips_BT3SS: torch.Tensor) -> torch.Tensor:
        """(B, T, 3, S, S) uint8 to features (B, T, D), not normalised."""
        images = clips_BT3SS.flatten(0, 1)
        if self.trained and torch.is_grad_enabled():
            features = self._features(images)
        else:
            with torch.no_grad():
                features = torch.cat(
                    [self._features(part) for part in torch.split(images, FROZEN_IMAGES)]
                )
        return features.view(*clips_BT3SS.shape[:2], -1)

    def _features(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.visual((images_N3SS.float() - self.mean) / self.std)
        return features


def _last_parts(visual: Any, last_n: int) -> list[Any]:
    """The last blocks, and the norm and projection behind them."""
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None:
        raise ValueError(
            "vision.trainable=last_n needs a vision transformer, "
            f"this tower is {type(visual).__name__}"
        )
    if last_n > len(blocks):
        raise ValueError(f"vision.last_n={last_n}, but the image tower has {len(blocks)} blocks")
    return [*blocks[-last_n:], visual.ln_post, *([visual.proj] if visual.proj is not None else [])]
