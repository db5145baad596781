"""Frames are exactly those asked for, from every kind of file, and bad files say why."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowledge.video import (
    VideoError,
    _reasons,
    _seconds,
    probe,
    read_frames,
    resize_and_crop,
    segment_centres,
    segment_random,
    segment_starts,
)
from tests.video_files import index_of, pattern, write_sound, write_video

FILES = [
    ("h264.mp4", "libx264", {}),
    ("bframes.mp4", "libx264", {"bf": "3", "g": "12"}),
    ("long-gop.mkv", "libx264", {"g": "250", "bf": "2"}),
    ("mpeg4.avi", "mpeg4", {"g": "12"}),
    ("mpeg4.mp4", "mpeg4", {"bf": "2"}),
]


def test_segment_centres_are_those_of_the_literature():
    assert segment_centres(300, 8) == [18, 56, 93, 131, 168, 206, 243, 281]
    assert segment_starts(300, 8) == [0, 37, 75, 112, 150, 187, 225, 262]


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 99))
def test_every_sampling_is_sorted_and_inside(num_frames, count, seed):
    generator = np.random.default_rng(seed)
    for positions in (
        segment_centres(num_frames, count),
        segment_starts(num_frames, count),
        segment_random(num_frames, count, generator),
    ):
        assert len(positions) == count
        assert positions == sorted(positions)
        assert 0 <= positions[0] <= positions[-1] < num_frames


@given(st.integers(1, 300), st.integers(1, 32), st.integers(0, 99))
def test_random_frames_stay_in_their_segment(num_frames, count, seed):
    drawn = segment_random(num_frames, count, np.random.default_rng(seed))
    for i, position in enumerate(drawn):
        start, stop = i * num_frames // count, (i + 1) * num_frames // count
        assert start <= position < max(stop, start + 1)


@pytest.mark.parametrize(("name", "codec", "options"), FILES)
def test_exactly_the_wanted_frames_are_decoded(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, 40, codec, **options)
    info = probe(path)
    assert (info.num_frames, info.width, info.height) == (40, 64, 48)
    assert info.fps == pytest.approx(10)
    assert info.duration_s == pytest.approx(4, abs=0.11)
    wanted = [0, 3, 3, 17, 38, 39]
    frames = read_frames(path, lambda n: wanted)
    assert frames.images.shape == (6, 3, 48, 64)
    assert frames.images.dtype == torch.uint8
    assert [index_of(image) for image in frames.images.numpy()] == wanted
    np.testing.assert_allclose(np.diff(frames.pts_s), np.diff(wanted) / 10, atol=1e-6)


def bad_files(tmp_path):
    whole = write_video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    write_sound(tmp_path / "sound.wav")
    damaged = bytearray(write_video(tmp_path / "damaged.mkv", 60).read_bytes())
    damaged[600:] = bytes(len(damaged) - 600)
    (tmp_path / "damaged.mkv").write_bytes(damaged)
    return {
        "absent.mp4": "no such file",
        "empty.mp4": "empty",
        "text.mp4": "not a video file",
        "truncated.mp4": "not a video file",
        "sound.wav": "no video stream",
        "damaged.mkv": "dam|decoded|valid",
    }


def test_bad_files_raise_one_line_with_the_reason(tmp_path):
    for name, reason in bad_files(tmp_path).items():
        with pytest.raises(VideoError, match=reason) as caught:
            read_frames(tmp_path / name, lambda n: segment_centres(n, 4))
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in caught.value.reason


def test_the_reason_is_the_same_in_every_directory(tmp_path):
    reasons = []
    for name in ("one", "another"):
        (tmp_path / name).mkdir()
        for path in ("text.mp4", "whole.mp4"):
            (tmp_path / name / path).write_text("no video")
        bad_files(tmp_path / name)
        reasons.append([])
        for path in sorted((tmp_path / name).glob("*.m*")):
            try:
                read_frames(path, lambda n: [0])
            except VideoError as error:
                reasons[-1].append(error.reason)
    assert reasons[0] == reasons[1]
    assert len(reasons[0]) == 4
    assert not [reason for reason in reasons[0] if str(tmp_path) in reason]


def test_an_unknown_codec_is_a_reason(tmp_path):
    path = write_video(tmp_path / "v.avi", 10, "mpeg4")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZZZ"))
    for use in (probe, lambda path: read_frames(path, lambda n: [0])):
        with pytest.raises(VideoError, match="unknown codec"):
            use(path)


def test_a_change_of_size_is_a_reason(tmp_path):
    small = write_video(tmp_path / "small.ts", 10, bf="0")
    large = tmp_path / "large.ts"
    with av.open(str(large), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(pattern(index, 96, 128), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    assert read_frames(both, lambda n: [0, 5]).images.shape == (2, 3, 48, 64)
    with pytest.raises(VideoError, match=r"picture size changes .*64x48 and 128x96"):
        read_frames(both, lambda n: [0, n - 2])


@pytest.mark.parametrize("error", [ValueError, AttributeError, IndexError])
def test_odd_errors_of_the_decoder_are_reasons(tmp_path, error):
    with pytest.raises(VideoError) as caught, _reasons(tmp_path / "a", "damaged"):
        raise error(f"odd {tmp_path / 'a'}\nmore")
    assert caught.value.reason == "damaged (odd a)"


def test_frames_cut_off_by_an_edit_list_do_not_exist(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", 40, bf="2", g="20")
    path = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts -= int(0.5 / packet.time_base)
                packet.dts -= int(0.5 / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    assert probe(path).num_frames == 35
    counts = []
    frames = read_frames(path, lambda n: counts.append(n) or range(n))
    assert counts == [35]
    assert [index_of(image) for image in frames.images.numpy()] == list(range(5, 40))
    assert frames.pts_s[:2] == pytest.approx([0, 0.1])


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [
        ((0, 1, -1, 0), -1),  # as phones write it upright: turn clockwise to show
        ((-1, 0, 0, -1), 2),
        ((0, -1, 1, 0), 1),
    ],
)
def test_pictures_are_turned_as_the_container_asks(tmp_path, matrix, turns):
    path = write_video(tmp_path / "v.mp4", 40)
    plain = read_frames(path, lambda n: [37]).images
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # matrix a b u c d v of a version 0 box, 16.16 fixed point
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 24] = struct.pack(">6i", a, b, 0, c, d, 0)
    path.write_bytes(data)
    turned = read_frames(path, lambda n: [37]).images
    assert turned.shape == ((1, 3, 48, 64) if turns == 2 else (1, 3, 64, 48))
    assert torch.equal(turned, torch.rot90(plain, turns, (2, 3)))


def test_a_frame_without_time_stamp_is_timed_by_the_frame_rate():
    assert _seconds(30, Fraction(1, 10), Fraction(25), 7) == 3
    assert _seconds(None, Fraction(1, 10), Fraction(25), 7) == 7 / 25
    assert _seconds(None, Fraction(1, 10), None, 7) is None


def test_a_stream_with_fewer_frames_than_packets_is_sampled_anew(tmp_path):
    """Packed streams hold placeholder packets (vop_coded = 0) that give no frame."""
    path = write_video(tmp_path / "v.avi", 30, "mpeg4", g="30")
    data = bytearray(path.read_bytes())
    at = data.index(b"movi")
    for number in range(30):
        at = data.index(b"00dc", at + 4)
        end = at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        if number >= 20:
            picture = data.index(b"\x00\x00\x01\xb6", at) + 4
            data[picture:end] = b"\x50\xbf" + bytes(end - picture - 2)
    path.write_bytes(data)
    assert probe(path).num_frames == 30
    frames = read_frames(path, lambda n: segment_centres(n, 5))
    assert [index_of(image) for image in frames.images.numpy()] == segment_centres(20, 5)


def test_resize_keeps_the_aspect_and_crops_the_centre():
    images = torch.zeros(2, 3, 40, 80, dtype=torch.uint8)
    images[:, :, :, 30:50] = 200
    out = resize_and_crop(images, 20)
    assert out.shape == (2, 3, 20, 20)
    assert out.dtype == torch.uint8
    assert out[0, 0, 10, 10] == 200
    assert out[0, 0, 10, 0] == 0
    wider = resize_and_crop(images, 20, short_side=40)
    assert (wider == 200).float().mean() > (out == 200).float().mean()


@pytest.mark.parametrize("size", [(720, 1280), (100, 75)])
def test_resize_matches_clips_own_transform(size):
    from open_clip import image_transform
    from PIL import Image

    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))
    ours = resize_and_crop(torch.from_numpy(image.copy()).permute(2, 0, 1)[None], 32)[0]
    theirs = image_transform(32, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))(
        Image.fromarray(image)
    )
    assert (ours.float() / 255 - theirs).abs().max() < 2.5 / 255
