"""What a clip is, and what is trained of the tower that sees it."""

from __future__ import annotations

from typing import Literal

from artifacts.frozen import Frozen
from training.config.settings import Fraction, PositiveInt

Augmentation = Literal["none", "rrc_gray", "tsn_color", "tsn_multiscale", "msq", "fsar"]


class DataConfig(Frozen):
    """What a clip is."""

    features: Literal["cached", "videos"] = "cached"
    """Train on `frame_embeddings` of the frozen CLIP, or decode and encode videos at every step."""
    num_frames: PositiveInt = 16
    """Frames T per clip."""
    test_offset: Literal["center", "start"] = "center"
    """Frame of each segment at test; `start` is BIKE's way. Cached embeddings must be made so."""
    augmentation: Augmentation = "none"
    """Pictures in training: the centre crop, or a preset of `training.data.augmentation`. The frame
    of each segment is random in all but `msq`, which takes those of the test."""
    flip: bool = True
    """Mirror half of the clips; switch off where left and right are different actions (SSv2)."""
    rand_augment: bool = False
    """RandAugment(2, 9) before `tsn_color`; ActionCLIP does so on Kinetics only."""
    short_side: PositiveInt = 256
    """Short side in pixels before cropping; for `fsar` in training of both sides. Where a test
    video is seen in several crops, its short side is CLIP's picture size instead."""
    normalize: Literal["clip", "imagenet"] = "clip"
    """Pixel statistics."""
    shots: PositiveInt | None = None
    """Train on this many videos of each class, drawn by `seed`: a draw of fewer shots is part of
    one of more; if omitted on all."""
    max_unreadable: Fraction = 0.2
    """Largest share of a split's videos that may be unusable; with more, the run is refused."""


class VisionConfig(Frozen):
    """CLIP's image tower, when clips come from videos."""

    trainable: Literal["none", "last_n", "all"] = "none"
    """Nothing, the last blocks with what follows them, or everything."""
    last_n: PositiveInt = 1
    """Blocks for `last_n`."""
