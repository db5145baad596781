"""The papers' presets: one random state per clip, and the ranges they state."""

import colorsys

import numpy as np
import pytest
import torch

from training.config.data import DataConfig
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.augmentation import (
    PRESETS,
    RAND_OPERATIONS,
    SCALES,
    augment,
    color_jitter,
    fixed_places,
    multi_scale_box,
    rand_augment,
    random_box,
)
from training.models.mgdm.config import MgdmConfig


def data_of(preset, **changes):
    plain = {"features": "videos", "short_side": 32, "augmentation": preset}
    return DataConfig(**plain, **changes)


def rng(seed):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def still():
    """Three times the same noisy picture."""
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, 3, 40, 60), dtype=torch.uint8, generator=generator)
    return picture.expand(3, -1, -1, -1)


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("rand_augment", [False, True])
def test_all_frames_of_a_clip_are_changed_alike(preset, rand_augment, still):
    data = data_of(preset, rand_augment=rand_augment)
    found = set()
    for seed in range(12):
        clip = augment(still, data, 24, rng(seed))
        assert clip.shape == (3, 3, 24, 24)
        assert clip.dtype == torch.uint8
        assert torch.equal(clip, augment(still, data, 24, rng(seed)))
        assert torch.equal(clip[0], clip[1])
        assert torch.equal(clip[0], clip[2])
        found.add(clip.numpy().tobytes())
    assert len(found) > 8


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_mirror_acts_half_of_the_time_unless_it_is_off(preset):
    ramp = torch.arange(0, 240, 4, dtype=torch.uint8).expand(1, 3, 40, 60)

    def mirrored(flip):
        data = data_of(preset, flip=flip)
        clips = [augment(ramp, data, 24, rng(seed)).float() for seed in range(60)]
        return sum(bool(clip[..., 0].mean() > clip[..., -1].mean()) for clip in clips)

    assert mirrored(False) == 0
    assert (mirrored(True) == 0) if preset == "msq" else (15 < mirrored(True) < 45)


@pytest.mark.parametrize(
    ("preset", "share"), [("rrc_gray", 0.2), ("tsn_color", 0.2), ("msq", 0.2), ("fsar", 0.0)]
)
def test_a_fifth_of_the_clips_is_grey(preset, share):
    red = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    red[:, 0] = 200
    clips = [augment(red, data_of(preset), 24, rng(seed)).int() for seed in range(150)]
    grey = sum(bool((clip[:, 0] == clip[:, 1]).all()) for clip in clips) / len(clips)
    assert grey == pytest.approx(share, abs=0.09)


def literal_places(height, width, crop_h, crop_w):
    """TSN's offsets (left, top), written out."""
    w, h = (width - crop_w) // 4, (height - crop_h) // 4
    return [
        *((0, 0), (4 * w, 0), (0, 4 * h), (4 * w, 4 * h), (2 * w, 2 * h)),
        *((0, 2 * h), (4 * w, 2 * h), (2 * w, 4 * h), (2 * w, 0)),
        *((w, h), (3 * w, h), (w, 3 * h), (3 * w, 3 * h)),
    ]


def test_multi_scale_crops_are_tsns():
    height, width = 256, 341
    sides = [int(256 * scale) for scale in SCALES]
    assert sides == [256, 224, 192, 168]
    boxes = [multi_scale_box(height, width, rng(seed)) for seed in range(3000)]
    pairs = {(h, w) for _, _, h, w in boxes}
    near = {(a, b) for a in sides for b in sides if abs(sides.index(a) - sides.index(b)) <= 1}
    assert pairs == near
    assert len(near) == 10
    for h, w in pairs:
        found = {(left, top) for top, left, *size in boxes if size == [h, w]}
        assert found == set(literal_places(height, width, h, w))
    assert len(fixed_places(50, 60)) == len(set(fixed_places(50, 60))) == 13
    shares = np.array([sum(box[2:] == pair for box in boxes) for pair in near]) / len(boxes)
    assert np.allclose(shares, 0.1, atol=0.03)


def test_resized_crops_stay_inside_with_the_ratios_of_the_paper():
    generator = rng(0)
    for height, width in ((48, 64), (256, 256), (10, 300), (300, 10)):
        for _ in range(50):
            top, left, h, w = random_box(height, width, generator)
            assert 0 <= top <= height - h
            assert 0 <= left <= width - w
            assert h > 0
            assert w > 0
            assert 0.6 < w / h < 1.6 or min(height, width) == 10


def test_colours_change_within_their_ranges():
    """One pixel of known hue, beside a black and a grey one; real numbers are not rounded."""
    picture = torch.tensor([[0.5, 0.3, 0.3], [0.0, 0.0, 0.0], [0.6, 0.6, 0.6]])
    clip = picture.T.reshape(1, 3, 1, 3)
    hues, levels = [], []
    for seed in range(200):
        r, g, b = color_jitter(clip, rng(seed))[0, :, 0, 0].tolist()
        hues.append((colorsys.rgb_to_hsv(r, g, b)[0] + 0.5) % 1 - 0.5)
        levels.append(max(r, g, b))
    assert -0.101 < min(hues) < -0.09
    assert 0.09 < max(hues) < 0.101
    assert 0.5 * 0.6 * 0.6 < min(levels) < 0.3
    assert 0.65 < max(levels) < 0.5 * 1.4 * 1.4


def test_presets_without_colour_keep_it():
    even = torch.full((1, 3, 40, 60), 120, dtype=torch.uint8)
    for preset in ("rrc_gray", "tsn_multiscale", "fsar"):
        clips = [augment(even, data_of(preset), 24, rng(seed)).int() for seed in range(10)]
        assert max(int((clip - 120).abs().max()) for clip in clips) <= 1


def test_fsar_ignores_the_aspect_and_keeps_its_scale():
    """Columns of a picture twice as wide are brought to 32 pixels, of which 24 are cut out."""
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(1, 3, 32, 64)
    starts = set()
    for seed in range(80):
        clip = augment(ramp, data_of("fsar", flip=False), 24, rng(seed)).int()[0, 0, 0]
        assert clip[1:-1].diff().median() == 8
        starts.add(round(clip[4].item() / 8) - 4)
    assert starts == set(range(9))


def test_rand_augment_applies_two_of_its_operations(still):
    picture = still[:1]
    results = {
        (name, sign): operation(picture, sign * 0.3)
        for name, operation in RAND_OPERATIONS.items()
        for sign in (-1, 1)
    }
    assert len(RAND_OPERATIONS) == 14
    changed = {name for (name, _), clip in results.items() if not torch.equal(clip, picture)}
    assert changed >= set(RAND_OPERATIONS) - {"identity", "autocontrast", "equalize"}
    singly = {clip.numpy().tobytes() for clip in results.values()}
    twice = 0
    for seed in range(40):
        clip = rand_augment(picture, rng(seed))
        assert clip.shape == picture.shape
        twice += clip.numpy().tobytes() not in singly
    assert twice > 20


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["data.augmentation=msq", "data.flip=false"], "data.augmentation is msq"),
        (["data.flip=false"], "data.augmentation is none"),
        (["data.augmentation=fsar", "data.rand_augment=true"], "is fsar, not tsn_color"),
    ],
)
def test_settings_without_effect_are_refused(settings, problem):
    with pytest.raises(ValueError, match=rf"has no effect: .*{problem}"):
        override(RunConfig(model=MgdmConfig()), ["data.features=videos", *settings])
    override(
        RunConfig(model=MgdmConfig()),
        ["data.features=videos", "data.augmentation=tsn_color", "data.rand_augment=true"],
    )
