"""Frames and crops of test views, against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowledge.video.frames import read_frames
from knowledge.video.sampling import fixed_frames, random_frames, segment_centres
from tests.video_files import write_video
from training.config.data import DataConfig
from training.data.augmentation import crops
from training.data.clips import read_clip
from training.data.order import EpochSeed


def test_one_view_is_the_segments_centre_or_start():
    assert fixed_frames(300, 8, "center")[0] == [18, 56, 93, 131, 168, 206, 243, 281]
    for n in (5, 16, 40, 301):
        assert fixed_frames(n, 16, "center") == [[int(n / 16 * (i + 0.5)) for i in range(16)]]
        assert fixed_frames(n, 16, "start") == [[int(n / 16 * i) for i in range(16)]]


def test_clips_lie_evenly_within_the_segments():
    """Segments of 40 frames; BIKE's starts are linspace(0, 39, 4)."""
    assert [clip[:2] for clip in fixed_frames(320, 8, "center", 4)] == [
        [5, 45],
        [15, 55],
        [25, 65],
        [35, 75],
    ]
    assert [clip[:2] for clip in fixed_frames(320, 8, "start", 4)] == [
        [0, 40],
        [13, 53],
        [26, 66],
        [39, 79],
    ]
    assert [clip[0] for clip in fixed_frames(320, 8, "center", 10)] == list(range(2, 40, 4))


@given(
    st.integers(1, 400),
    st.integers(1, 32),
    st.integers(1, 10),
    st.sampled_from(["center", "start"]),
)
def test_fixed_frames_exist_and_rise(n, T, C, offset):
    clips = fixed_frames(n, T, offset, C)
    assert len(clips) == C
    for clip in clips:
        assert len(clip) == T
        assert clip == sorted(clip)
        assert 0 <= clip[0] <= clip[-1] < n


@given(st.integers(1, 100), st.integers(1, 32), st.integers(0, 5))
def test_random_frames_are_one_of_each_segment_or_all(n, T, seed):
    frames = random_frames(n, T, np.random.default_rng(seed))
    assert len(frames) == T
    assert frames == sorted(frames)
    if n <= T:
        assert set(frames) == set(range(n))
    else:
        for i, frame in enumerate(frames):
            assert i * n // T <= frame < (i + 1) * n // T


def test_random_frames_reach_every_frame():
    found = {f for seed in range(200) for f in random_frames(12, 4, np.random.default_rng(seed))}
    assert found == set(range(12))
    extra = [random_frames(3, 4, np.random.default_rng(seed)) for seed in range(50)]
    assert {tuple(each) for each in extra} == {(0, 0, 1, 2), (0, 1, 1, 2), (0, 1, 2, 2)}


@pytest.mark.parametrize("upright", [False, True])
def test_crops_go_from_end_to_end_of_the_long_side(upright):
    ramp = torch.arange(0, 240, 4, dtype=torch.uint8).expand(2, 3, 20, 60)
    images = ramp.transpose(-1, -2) if upright else ramp
    found = crops(images, 20, 32, 3)
    assert found.shape == (3, 2, 3, 20, 20)
    for crop, start in zip(found, (0, 20, 40), strict=True):
        expected = ramp[..., start : start + 20]
        assert torch.equal(crop, expected.transpose(-1, -2) if upright else expected)
    single = crops(images, 20, 40, 1)
    assert single.shape == (1, 2, 3, 20, 20)
    assert single[0, 0, 0].float().mean() == pytest.approx(118, abs=2)


def test_views_of_a_file_are_its_clips_by_its_crops(tmp_path):
    path = write_video(tmp_path / "a.mp4", 40)
    data = DataConfig(features="videos", num_frames=4, short_side=48)
    views = torch.from_numpy(read_clip(path, "a", data, 48, None, (2, 3)))
    assert views.shape == (6, 4, 3, 48, 48)
    for j, clip in enumerate(fixed_frames(40, 4, "center", 2)):
        images = read_frames(path, lambda n, clip=clip: clip).images
        assert torch.equal(views[3 * j : 3 * j + 3], crops(images, 48, 48, 3))
    single = read_clip(path, "a", data, 48, None)
    assert single.shape == (4, 3, 48, 48)
    assert np.array_equal(single, read_clip(path, "a", data, 48, None, (1, 1)))
    in_training = read_clip(path, "a", data, 48, EpochSeed(0, 1), (2, 3))
    assert in_training.shape == (4, 3, 48, 48)
    msq = data.model_copy(update={"augmentation": "msq"})
    still = read_frames(path, lambda n: segment_centres(n, 4)).images
    drawn = [read_clip(path, "a", msq, 48, EpochSeed(0, epoch)) for epoch in range(3)]
    assert all(clip.shape == (4, 3, 48, 48) for clip in drawn)
    assert len(still) == 4
