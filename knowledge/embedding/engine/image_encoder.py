"""The image tower of a frozen CLIP, made fast: precision, batches, only one token at the end.

Legend: N images, S pixels, P patches with the class token, D embedding, W width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer

from knowledge.clip.model import Clip, first_output
from knowledge.embedding.config import Precision
from knowledge.embedding.engine.blocks import Block, is_known

IMAGES_PER_BATCH = 32
"""On one core ViT-B/32 in bf16 takes 12 ms an image; in batches of less than 16 it takes more."""

CENTRE = 128.0
"""Taken from pixels before they meet bf16 weights: exact there, and near the mean."""

Rows = npt.NDArray[np.float32]
Encode = Callable[[torch.Tensor], tuple[Rows, Rows]]
"""From (N, 3, S, S) uint8 to unit rows (N, D) and the features' lengths (N,), float32."""


class ImageEncoder:
    """uint8 images to unit rows.

    The last block of a plain vision transformer is computed for the class token only, and the
    pixels' normalisation is part of the patch embedding. Any other tower runs as it is.
    """

    def __init__(self, clip: Clip, precision: Precision) -> None:
        """Take a copy of the image tower of a model on the CPU, its weights cast."""
        self.image_size = clip.image_size
        self.resizing = clip.preprocess.resizing
        self.dim = clip.dim
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        visual = clip.model.visual
        self.is_plain = _is_plain(visual)
        """Whether the tower is made fast, not run as it is."""
        self._blocks: list[Block] = []
        self._mean = torch.tensor(clip.mean).mul(255).view(1, 3, 1, 1)
        self._std = torch.tensor(clip.std).mul(255).view(1, 3, 1, 1)
        if self.is_plain:
            rows = IMAGES_PER_BATCH * len(visual.positional_embedding)
            blocks = visual.transformer.resblocks
            self._blocks = [Block(block, self.dtype, rows) for block in blocks]
            weight = visual.conv1.weight.detach() / self._std
            self._patch_weight = weight.flatten(1).to(self.dtype)
            self._patch_bias = ((CENTRE - self._mean) * weight).sum((1, 2, 3)).to(self.dtype)
        with _without_blocks(visual) if self.is_plain else nullcontext():
            self._visual: Any = copy.deepcopy(visual).to(self.dtype)
        self.moved("cpu")

    def moved(self, device: str) -> ImageEncoder:
        """This encoder, moved to another device."""
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.dtype == torch.float32:
            torch.backends.cudnn.allow_tf32 = False
        for name, value in vars(self).items():
            if isinstance(value, torch.Tensor | torch.nn.Module):
                setattr(self, name, value.to(self.device))
        for block in self._blocks:
            block.moved(self.device)
        return self

    @torch.inference_mode()
    def __call__(self, images_N3SS: torch.Tensor) -> tuple[Rows, Rows]:
        """Unit rows (N, D) and the features' lengths (N,), float32."""
        if self.device.type == "cuda":
            images_N3SS = images_N3SS.pin_memory().to(self.device, non_blocking=True)
        features = (self._class_token if self.is_plain else self._whole)(images_N3SS).float()
        norms = features.norm(dim=-1)
        units = features / norms[:, None]
        return cast(Rows, units.cpu().numpy()), cast(Rows, norms.cpu().numpy())

    def _whole(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        pixels = (images_N3SS.to(self.device).float() - self._mean) / self._std
        return first_output(self._visual(pixels.to(self.dtype)))

    def _class_token(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        visual = self._visual
        x_NPW = self._patches(images_N3SS)
        *blocks, last = self._blocks
        for block in blocks:
            x_NPW = block(x_NPW)
        token = last(x_NPW, queries=1)
        features: torch.Tensor = visual.ln_post(token[:, 0])
        return features if visual.proj is None else features @ visual.proj

    def _patches(self, images_N3SS: torch.Tensor) -> torch.Tensor:
        """Patch embedding as one product: bytes are moved before they become wider."""
        visual = self._visual
        count, _, height, width = images_N3SS.shape
        p, q = visual.conv1.kernel_size
        grid = images_N3SS.reshape(count, 3, height // p, p, width // q, q)
        bytes_NPX = grid.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, 3 * p * q)
        pixels = bytes_NPX.to(self.dtype).sub_(CENTRE)
        x_NPW = F.linear(pixels, self._patch_weight, self._patch_bias)
        token = visual.class_embedding.expand(count, 1, -1)
        x_NPW = torch.cat([token, x_NPW], dim=1) + visual.positional_embedding
        embedded: torch.Tensor = visual.ln_pre(x_NPW)
        return embedded


def canary_images(size: int) -> torch.Tensor:
    """(2, 3, S, S) uint8, the same everywhere: a gradient and noise."""
    count = 3 * size * size
    gradient = np.arange(count) * 256 // count
    noise = (np.arange(count, dtype=np.uint64) * 2654435761 >> 13) % 256
    return torch.from_numpy(np.stack([gradient, noise]).astype(np.uint8).reshape(2, 3, size, size))


@contextmanager
def _without_blocks(visual: Any) -> Iterator[None]:
    """The tower without its blocks, which `Block` has copies of."""
    blocks, visual.transformer.resblocks = visual.transformer.resblocks, torch.nn.ModuleList()
    try:
        yield
    finally:
        visual.transformer.resblocks = blocks


def _is_plain(visual: Any) -> bool:
    """Whether its embedding is the class token of a plain vision transformer."""
    return (
        type(visual) is VisionTransformer
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and visual.conv1.stride == visual.conv1.kernel_size
        and all(map(is_known, visual.transformer.resblocks))
        and len(visual.transformer.resblocks) > 0
    )
