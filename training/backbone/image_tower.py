"""CLIP's image tower within a model that is trained end to end, frozen or not.

Time may enter it in two places. `joint`: patches of all frames, each with an embedding of its
frame's time, and one class token are one sequence. `shift`: before every block a part of the
patches' channels comes from the neighbouring frames. Source: ActionCLIP; its released `joint` does
not run, so that follows the paper's words.

Legend: B videos, T frames, N images, P patches of an image, L tokens, D embedding, W width of the
tower, S pixels.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from knowledge.clip.model import Clip, first_output
from training.config.data import VisionConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FROZEN_IMAGES = 64
"""Images per forward pass where no gradient is kept."""
SHIFT_PARTS = 8
"""One part of the channels comes from the next frame, one from the frame before. Source: TSM."""


class ImageTower(nn.Module):
    """uint8 clips to CLIP features; float32 weights, of which `config` says which are trained."""

    def __init__(
        self,
        clip: Clip,
        config: VisionConfig,
        normalize: Literal["clip", "imagenet"],
        joint_frames: int = 0,
        shift: bool = False,
    ) -> None:
        """Take over the image tower of a loaded CLIP.

        Args:
            clip: the model; its image tower is the one that will be trained.
            config: what is trained.
            normalize: pixel statistics.
            joint_frames: frames T whose patches are one sequence; 0: every frame for itself. The
                embedding of time is drawn from torch's global generator.
            shift: exchange channels of patches between frames before every block.

        Raises:
            ValueError: `last_n` of a tower without transformer blocks, or more than it has.
        """
        super().__init__()
        self.visual: Any = clip.model.visual
        self.image_size, self.dim = clip.image_size, clip.dim
        self.shift = shift
        mean, std = (clip.mean, clip.std) if normalize == "clip" else (IMAGENET_MEAN, IMAGENET_STD)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)
        self.visual.requires_grad_(config.trainable == "all")
        if config.trainable == "last_n":
            for part in _last_parts(self.visual, config.last_n):
                part.requires_grad_(True)
        self.time: nn.Parameter | None = None
        if joint_frames:
            width = len(self.visual.class_embedding)
            self.time = nn.Parameter(width**-0.5 * torch.randn(joint_frames, width))
        self.trained = config.trainable != "none"
        """Whether weights of CLIP are trained; `time` always is."""

    def train(self, mode: bool = True) -> ImageTower:
        """CLIP's own modules stay as they are: a ResNet's batch statistics are not trained."""
        super().train(mode)
        self.visual.eval()
        return self

    @property
    def frozen_clip(self) -> bool:
        """Whether the features are those of frozen CLIP, frame by frame."""
        return not (self.trained or self.shift or self.time is not None)

    def forward(self, clips_BT3SS: torch.Tensor) -> torch.Tensor:
        """(B, T, 3, S, S) uint8 to features (B, T, D), or (B, 1, D) for `joint`, not normalised."""
        if (self.trained or self.time is not None) and torch.is_grad_enabled():
            return self._features(clips_BT3SS)
        with torch.no_grad():
            if self.shift or self.time is not None:
                size = max(1, FROZEN_IMAGES // clips_BT3SS.shape[1])
                return torch.cat([self._features(part) for part in torch.split(clips_BT3SS, size)])
            parts = torch.split(clips_BT3SS.flatten(0, 1), FROZEN_IMAGES)
            features = [self._features(part[None])[0] for part in parts]
            return torch.cat(features).view(*clips_BT3SS.shape[:2], -1)

    def _features(self, clips_BT3SS: torch.Tensor) -> torch.Tensor:
        images = (clips_BT3SS.flatten(0, 1).float() - self.mean) / self.std
        if self.time is not None:
            features = self._project(self.visual.transformer(self._joint_tokens(images)))
        elif self.shift:
            features = self._project(self._shifted_blocks(images, clips_BT3SS.shape[1]))
        else:
            features = first_output(self.visual(images))
        clip_features: torch.Tensor = features.view(len(clips_BT3SS), -1, features.shape[-1])
        return clip_features

    def _joint_tokens(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        """(B, 1 + T P, W): the class token, then the patches of all frames."""
        assert self.time is not None
        visual, T = self.visual, len(self.time)
        patches_NPW = visual.conv1(images_N3SS).flatten(2).transpose(1, 2)
        patches_NPW = patches_NPW + visual.positional_embedding[1:].to(patches_NPW.dtype)
        patches_BTPW = patches_NPW.view(-1, T, *patches_NPW.shape[1:])
        patches_BTPW = patches_BTPW + self.time[:, None].to(patches_NPW.dtype)
        token_W = visual.class_embedding + visual.positional_embedding[0]
        tokens_B1W = token_W.to(patches_NPW.dtype).expand(len(patches_BTPW), 1, -1)
        tokens: torch.Tensor = visual.ln_pre(
            torch.cat([tokens_B1W, patches_BTPW.flatten(1, 2)], dim=1)
        )
        return tokens

    def _shifted_blocks(self, images_N3SS: torch.Tensor, num_frames: int) -> torch.Tensor:
        tokens_NLW: torch.Tensor = self.visual._embeds(images_N3SS)
        for block in self.visual.transformer.resblocks:
            tokens_NLW = block(shifted(tokens_NLW, num_frames))
        return tokens_NLW

    def _project(self, tokens_NLW: torch.Tensor) -> torch.Tensor:
        pooled, _ = self.visual._pool(tokens_NLW)
        features: torch.Tensor = pooled if self.visual.proj is None else pooled @ self.visual.proj
        return features


def is_plain_vit(visual: Any) -> bool:
    """Whether time can enter a tower of open_clip: only its plain vision transformer is known."""
    names = ("conv1", "class_embedding", "_embeds", "_pool")
    return all(hasattr(visual, name) for name in names) and visual.attn_pool is None


def shifted(tokens_NLW: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Tokens with an eighth of the patches' channels from the next frame, another from the last.

    The class token stays; what lies beyond both ends of a clip is 0. Source: TSM, bidirectional.

    Args:
        tokens_NLW: N = B T images of whole clips, the class token first.
        num_frames: T.
    """
    tokens_BTLW = tokens_NLW.view(-1, num_frames, *tokens_NLW.shape[1:])
    patches = tokens_BTLW[:, :, 1:]
    part = patches.shape[-1] // SHIFT_PARTS
    following, preceding = patches[..., :part], patches[..., part : 2 * part]
    beyond = torch.zeros_like(following[:, :1])
    moved = torch.cat(
        [
            torch.cat([following[:, 1:], beyond], dim=1),
            torch.cat([beyond, preceding[:, :-1]], dim=1),
            patches[..., 2 * part :],
        ],
        dim=-1,
    )
    return torch.cat([tokens_BTLW[:, :, :1], moved], dim=2).flatten(0, 1)


def _last_parts(visual: Any, last_n: int) -> list[Any]:
    """The last blocks, and the norm and projection behind them."""
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None:
        raise ValueError(
            "vision.trainable=last_n needs a vision transformer, this tower is "
            f"{type(visual).__name__}; set it to none or all, or choose another --clip"
        )
    if last_n > len(blocks):
        raise ValueError(f"vision.last_n={last_n}, but the image tower has {len(blocks)} blocks")
    behind = (visual.ln_post, visual.attn_pool, visual.proj)
    return [*blocks[-last_n:], *(part for part in behind if part is not None)]
