"""The stills that `stickworld-clip` is pretrained on, and their augmentation.

Legend: N images, S pixels of an image's side, R = S / 2 of a blueprint's.
"""

from __future__ import annotations

from dataclasses import dataclass

import open_clip
import torch
from torch.nn import functional as F

from knowledge.pretraining.zero_shot import rendered_frames
from knowledge.stickworld.classes import CLASS_NAMES
from knowledge.stickworld.drawing.render import ClipPlan
from knowledge.stickworld.grammar import single_plan

DATA_SEED = 20_001
"""Of the rendered clips; the demo world has seed 0."""
DATA_SPLIT = "pretrain"
"""Part of every video id; draws depend on (seed, video_id), so no other split repeats one."""
CLIPS_PER_CLASS = 96
FRAMES_PER_CLIP = 8
"""One random frame of each of that many segments."""
MAX_SHIFT_PX = 6
WORKERS = 2
"""Processes that render."""


def pretraining_plans() -> list[ClipPlan]:
    """The clips whose frames are learnt from."""
    numbers = range(CLIPS_PER_CLASS)
    return [single_plan(name, DATA_SPLIT, index) for name in CLASS_NAMES for index in numbers]


@dataclass(frozen=True)
class Stills:
    """What is learnt from: N frames, each with its class and its blueprint."""

    images_N3SS: torch.Tensor
    """uint8."""
    blueprints_N3RR: torch.Tensor
    """uint8; R = S / 2."""
    class_of_N: torch.Tensor
    """Class index of each frame."""


def pretraining_stills() -> Stills:
    """Random frames of the pretraining clips, after encoding and decoding."""
    plans = pretraining_plans()
    images = rendered_frames(plans, DATA_SEED, FRAMES_PER_CLIP, random=True, workers=WORKERS)
    blueprints = rendered_frames(
        plans, DATA_SEED, FRAMES_PER_CLIP, random=True, workers=WORKERS, blueprint=True
    )
    per_class = CLIPS_PER_CLASS * FRAMES_PER_CLIP
    classes = torch.arange(len(CLASS_NAMES)).repeat_interleave(per_class)
    return Stills(torch.cat(images), torch.cat(blueprints), classes)


def augment(
    images_N3SS: torch.Tensor, blueprints_N3RR: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirror, shift and change brightness and contrast; none of it changes an action.

    Args:
        images_N3SS: (N, 3, S, S) uint8.
        blueprints_N3RR: (N, 3, R, R) uint8, mirrored and shifted alike; R = S / 2.
        generator: source of the draws.

    Returns:
        Images as CLIP normalises them and blueprints in about [-1, 1], float32.
    """
    count = len(images_N3SS)
    half = MAX_SHIFT_PX // 2
    shift_N2 = torch.randint(2 * half + 1, (count, 2), generator=generator).tolist()
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = _moved(images_N3SS, 2, shift_N2, half, mirrored)
    contrast = 0.85 + 0.3 * torch.rand(count, 1, 1, 1, generator=generator)
    brightness = 40 * torch.rand(count, 1, 1, 1, generator=generator) - 20
    images = ((images - 128) * contrast + 128 + brightness).clamp(0, 255) / 255
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    blueprints = _moved(blueprints_N3RR, 1, shift_N2, half, mirrored) / 128 - 0.2
    return (images - mean) / std, blueprints


def _moved(
    pictures: torch.Tensor, unit: int, shift_N2: list[list[int]], most: int, mirrored: torch.Tensor
) -> torch.Tensor:
    """Pictures shifted by (shift - most) units of pixels and mirrored where asked, as float32."""
    side = pictures.shape[-1]
    padded = F.pad(pictures.float(), (most * unit,) * 4, mode="replicate")
    cut = [
        picture[:, y * unit : y * unit + side, x * unit : x * unit + side]
        for picture, (x, y) in zip(padded, shift_N2, strict=True)
    ]
    moved = torch.stack(cut)
    return torch.where(mirrored, moved.flip(-1), moved)
