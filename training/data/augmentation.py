"""The part of the picture a clip takes: presets of the papers in training, fixed crops at test.

A preset draws its parameters from a generator of the clip and applies them to all of its frames.
(Peers draw colour changes anew for every frame, and the clips of a multi-view test at random, so
that their numbers do not repeat.) All start from pictures whose short side is
`data.short_side`; all resizing is bicubic and antialiased.

| preset | after the resize |
|---|---|
| `rrc_gray` | random resized crop, mirror, grey; BIKE, MGDM 3.2 |
| `tsn_color` | [RandAugment], multi-scale crop, mirror, colour, grey; ActionCLIP |
| `tsn_multiscale` | multi-scale crop, mirror (X-CLIP's) |
| `msq` | multi-scale crop, colour, grey, neither mirror nor temporal jitter; MSQNet |
| `fsar` | both sides resized, the aspect ignored; random crop, mirror; CLIP-FSAR |

Legend: T frames, H x W pixels, S of a square crop, R crops.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from knowledge.video.frames import resize_and_crop
from training.config.data import DataConfig

Generator = np.random.Generator
Box = tuple[int, int, int, int]
"""Top, left, height, width."""

SCALES = (1.0, 0.875, 0.75, 0.66)
"""Crop sides over the short side. Source: TSN."""
MAX_DISTORT = 1
"""How many places in `SCALES` the sides of a crop may differ."""
RAND_OPS, RAND_MAGNITUDE = 2, 9 / 30
"""RandAugment(2, 9): operations per clip, and magnitude over the largest."""
COLOUR, GREY, MIRROR = 0.8, 0.2, 0.5
"""Probability of each."""


def augment(
    images_T3HW: torch.Tensor, data: DataConfig, size: int, generator: Generator
) -> torch.Tensor:
    """A clip for training under `data.augmentation`, which is not `none`.

    Returns:
        (T, 3, size, size) uint8.
    """
    return PRESETS[data.augmentation](images_T3HW, data, size, generator)


def rrc_gray(
    images_T3HW: torch.Tensor, data: DataConfig, size: int, generator: Generator
) -> torch.Tensor:
    """Random resized crop (area 0.08-1, ratio 3/4-4/3), mirror, grey."""
    clip = short_side(images_T3HW, data)
    height, width = clip.shape[-2:]
    box = random_box(height, width, generator)
    mirrored, grey = generator.random() < MIRROR, generator.random() < GREY
    clip = _cropped(clip, box, size)
    return _finished(clip, data.flip and mirrored, grey)


def tsn_color(
    images_T3HW: torch.Tensor, data: DataConfig, size: int, generator: Generator
) -> torch.Tensor:
    """RandAugment where `data.rand_augment`, multi-scale crop, mirror, colour jitter, grey."""
    clip = short_side(images_T3HW, data)
    if data.rand_augment:
        clip = rand_augment(clip, generator)
    clip = _multi_scale_cropped(clip, size, generator)
    if generator.random() < MIRROR and data.flip:
        clip = F.horizontal_flip(clip)
    if generator.random() < COLOUR:
        clip = color_jitter(clip, generator)
    return _finished(clip, False, generator.random() < GREY)


def tsn_multiscale(
    images_T3HW: torch.Tensor, data: DataConfig, size: int, generator: Generator
) -> torch.Tensor:
    """Multi-scale crop and mirror."""
    clip = short_side(images_T3HW, data)
    clip = _multi_scale_cropped(clip, size, generator)
    return _finished(clip, data.flip and generator.random() < MIRROR, False)


def msq(
    images_T3HW: torch.Tensor, data: DataConfig, size: int, generator: Generator
) -> torch.Tensor:
    """Multi-scale crop, colour jitter, grey; for parity with MSQNet, whose mirror never acts."""
    clip = short_side(images_T3HW, data)
    clip = _multi_scale_cropped(clip, size, generator)
    if generator.random() < COLOUR:
        clip = color_jitter(clip, generator)
    return _finished(clip, False, generator.random() < GREY)


def fsar(
    images_T3HW: torch.Tensor, data: DataConfig, size: int, generator: Generator
) -> torch.Tensor:
    """Both sides to `data.short_side`, random crop, mirror."""
    side = data.short_side
    clip = F.resize(images_T3HW, [side, side], InterpolationMode.BICUBIC, antialias=True)
    top, left = generator.integers(0, side - size + 1, 2).tolist()
    clip = F.crop(clip, top, left, size, size)
    return _finished(clip, data.flip and generator.random() < MIRROR, False)


Preset = Callable[[torch.Tensor, DataConfig, int, Generator], torch.Tensor]
PRESETS: dict[str, Preset] = {
    "rrc_gray": rrc_gray,
    "tsn_color": tsn_color,
    "tsn_multiscale": tsn_multiscale,
    "msq": msq,
    "fsar": fsar,
}
"""By the value of `data.augmentation`."""


def short_side(images_T3HW: torch.Tensor, data: DataConfig) -> torch.Tensor:
    """Pictures whose short side is `data.short_side`, the aspect kept."""
    resized: torch.Tensor = F.resize(
        images_T3HW, [data.short_side], InterpolationMode.BICUBIC, antialias=True
    )
    return resized


def random_box(
    height: int,
    width: int,
    generator: Generator,
    area: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A crop with random share of the area and aspect ratio.

    Ten draws; if none fits, the largest central crop within the ratios. Source: Inception, as in
    torchvision's RandomResizedCrop.
    """
    for _ in range(10):
        pixels = height * width * generator.uniform(*area)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_w, crop_h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < crop_w <= width and 0 < crop_h <= height:
            top = int(generator.integers(0, height - crop_h + 1))
            left = int(generator.integers(0, width - crop_w + 1))
            return top, left, crop_h, crop_w
    crop_w = min(width, round(height * ratio[1]))
    crop_h = min(height, round(width / ratio[0]))
    return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w


def multi_scale_box(height: int, width: int, generator: Generator) -> Box:
    """A crop with sides from `SCALES` at one of 13 places, each equally likely.

    Source: TSN's multi-scale cropping.
    """
    sides = [int(min(height, width) * scale) for scale in SCALES]
    pairs = [
        (h, w)
        for i, h in enumerate(sides)
        for j, w in enumerate(sides)
        if abs(i - j) <= MAX_DISTORT
    ]
    crop_h, crop_w = pairs[generator.integers(len(pairs))]
    places = fixed_places(height - crop_h, width - crop_w)
    top, left = places[generator.integers(len(places))]
    return top, left, crop_h, crop_w


def fixed_places(free_h: int, free_w: int) -> list[tuple[int, int]]:
    """Top and left of 13 crops, given the room they have: 3 x 3, and 2 x 2 between those.

    Steps are whole pixels, a quarter of the room. Source: TSN.
    """
    step_h, step_w = free_h // 4, free_w // 4
    corners = [(i, j) for i in (0, 2, 4) for j in (0, 2, 4)]
    between = [(i, j) for i in (1, 3) for j in (1, 3)]
    return [(i * step_h, j * step_w) for i, j in corners + between]


def color_jitter(images_T3HW: torch.Tensor, generator: Generator) -> torch.Tensor:
    """Brightness and contrast times 0.6-1.4, saturation times 0.8-1.2, hue shifted by up to 0.1.

    In random order; contrast is about each frame's own mean. Source: ActionCLIP.
    """
    changes: list[tuple[Callable[[torch.Tensor, float], torch.Tensor], float]] = [
        (F.adjust_brightness, generator.uniform(0.6, 1.4)),
        (F.adjust_contrast, generator.uniform(0.6, 1.4)),
        (F.adjust_saturation, generator.uniform(0.8, 1.2)),
        (F.adjust_hue, generator.uniform(-0.1, 0.1)),
    ]
    clip = images_T3HW
    for i in generator.permutation(len(changes)).tolist():
        change, amount = changes[i]
        clip = change(clip, amount)
    return clip


def rand_augment(images_T3HW: torch.Tensor, generator: Generator) -> torch.Tensor:
    """Two of 14 operations at three tenths of their largest magnitude, of random sign.

    Deviation: the operations are torchvision's; ActionCLIP's list also has inversion, a second
    solarisation and cutout.
    """
    clip = images_T3HW
    for name in generator.choice(list(RAND_OPERATIONS), RAND_OPS).tolist():
        sign = 1.0 if generator.random() < 0.5 else -1.0
        clip = RAND_OPERATIONS[name](clip, sign * RAND_MAGNITUDE)
    return clip


def _affine(
    clip: torch.Tensor,
    angle: float = 0.0,
    move: tuple[int, int] = (0, 0),
    shear: tuple[float, float] = (0.0, 0.0),
) -> torch.Tensor:
    degrees = [math.degrees(math.atan(each)) for each in shear]
    moved: torch.Tensor = F.affine(
        clip, angle, list(move), 1.0, degrees, InterpolationMode.BILINEAR
    )
    return moved


RAND_OPERATIONS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "identity": lambda clip, _: clip,
    "shear_x": lambda clip, m: _affine(clip, shear=(0.3 * m, 0)),
    "shear_y": lambda clip, m: _affine(clip, shear=(0, 0.3 * m)),
    "translate_x": lambda clip, m: _affine(clip, move=(int(150 / 331 * clip.shape[-1] * m), 0)),
    "translate_y": lambda clip, m: _affine(clip, move=(0, int(150 / 331 * clip.shape[-2] * m))),
    "rotate": lambda clip, m: _affine(clip, angle=30 * m),
    "brightness": lambda clip, m: F.adjust_brightness(clip, 1 + 0.9 * m),
    "color": lambda clip, m: F.adjust_saturation(clip, 1 + 0.9 * m),
    "contrast": lambda clip, m: F.adjust_contrast(clip, 1 + 0.9 * m),
    "sharpness": lambda clip, m: F.adjust_sharpness(clip, 1 + 0.9 * m),
    "posterize": lambda clip, m: F.posterize(clip, 8 - round(4 * abs(m))),
    "solarize": lambda clip, m: F.solarize(clip, round(255 * (1 - abs(m)))),
    "autocontrast": lambda clip, _: F.autocontrast(clip),
    "equalize": lambda clip, _: F.equalize(clip),
}
"""Name to operation on a clip at a signed magnitude in [-1, 1]."""


def _multi_scale_cropped(
    images_T3HW: torch.Tensor, size: int, generator: Generator
) -> torch.Tensor:
    height, width = images_T3HW.shape[-2:]
    return _cropped(images_T3HW, multi_scale_box(height, width, generator), size)


def _cropped(images_T3HW: torch.Tensor, box: Box, size: int) -> torch.Tensor:
    clip: torch.Tensor = F.resized_crop(
        images_T3HW, *box, [size, size], InterpolationMode.BICUBIC, antialias=True
    )
    return clip


def _finished(clip: torch.Tensor, mirrored: bool, grey: bool) -> torch.Tensor:
    if mirrored:
        clip = F.horizontal_flip(clip)
    if grey:
        clip = F.rgb_to_grayscale(clip, num_output_channels=3)
    return clip


def crops(images_T3HW: torch.Tensor, size: int, short_side: int, R: int = 1) -> torch.Tensor:
    """R squares of each frame.

    One: the centre, after the short side is brought to `short_side`. Several: the short side is
    brought to `size`, and the squares lie evenly along the long side from one end to the other;
    three are left, middle and right, or top, middle and bottom. Source: X-CLIP.

    Returns:
        (R, T, 3, size, size) uint8.
    """
    if R == 1:
        return resize_and_crop(images_T3HW, size, short_side)[None]
    resized = F.resize(images_T3HW, [size], InterpolationMode.BICUBIC, antialias=True)
    height, width = resized.shape[-2:]
    places = [round(i / (R - 1) * (max(height, width) - size)) for i in range(R)]
    if height > width:
        return torch.stack([resized[..., top : top + size, :] for top in places])
    return torch.stack([resized[..., left : left + size] for left in places])
