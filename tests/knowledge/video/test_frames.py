"""Frames are exactly those asked for, from every kind of file, and bad files say why."""

import struct
from fractions import Fraction

import av
import av.filter
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import Base

from knowledge.video.decoding import VideoError
from knowledge.video.frames import read_clip, read_frames, resize_and_crop
from knowledge.video.probing import probe
from knowledge.video.sampling import fixed_frames, random_frames, segment_centres
from tests.video_files import (
    index_of,
    moving,
    pattern,
    write_covered,
    write_sound,
    write_streams,
    write_video,
)

FILES = [
    ("h264.mp4", "libx264", {}),
    ("bframes.mp4", "libx264", {"bf": "3", "g": "12"}),
    ("long-gop.mkv", "libx264", {"g": "250", "bf": "2"}),
    ("mpeg4.avi", "mpeg4", {"g": "12"}),
    ("mpeg4.mp4", "mpeg4", {"bf": "2"}),
]


def test_segment_centres_are_those_of_the_literature():
    assert segment_centres(300, 8) == [18, 56, 93, 131, 168, 206, 243, 281]
    assert fixed_frames(300, 8, "start") == [[0, 37, 75, 112, 150, 187, 225, 262]]


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 99))
def test_every_sampling_is_sorted_and_inside(num_frames, count, seed):
    generator = np.random.default_rng(seed)
    for positions in (
        segment_centres(num_frames, count),
        *fixed_frames(num_frames, count, "start"),
        random_frames(num_frames, count, generator),
    ):
        assert len(positions) == count
        assert positions == sorted(positions)
        assert 0 <= positions[0] <= positions[-1] < num_frames


@given(st.integers(33, 300), st.integers(1, 32), st.integers(0, 99))
def test_random_frames_stay_in_their_segment(num_frames, count, seed):
    drawn = random_frames(num_frames, count, np.random.default_rng(seed))
    for i, position in enumerate(drawn):
        start, stop = i * num_frames // count, (i + 1) * num_frames // count
        assert start <= position < stop


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


FILTERS = {
    (1, 0, 0, 1): (),
    (0, 1, -1, 0): ("transpose=clock",),  # as phones write it upright
    (-1, 0, 0, -1): ("hflip", "vflip"),
    (0, -1, 1, 0): ("transpose=cclock",),
    (-1, 0, 0, 1): ("hflip",),  # as front cameras do
    (1, 0, 0, -1): ("vflip",),
    (0, 1, 1, 0): ("transpose=cclock_flip",),
    (0, -1, -1, 0): ("transpose=clock_flip",),
}
"""Display matrix (a, b, c, d) -> the filters that ffmpeg inserts for it."""


def set_matrix(path, matrix):
    """Write a display matrix into an MP4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # matrix a b u c d v of a version 0 box, 16.16 fixed point
    a, b, c, d = (round(value * 65536) for value in matrix)
    data[at : at + 24] = struct.pack(">6i", a, b, 0, c, d, 0)
    path.write_bytes(data)


def filtered(image, filters):
    """A (3, H, W) picture after filters of ffmpeg's."""
    frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(image.permute(1, 2, 0).numpy()), format="rgb24"
    )
    graph = av.filter.Graph()
    size = {"width": frame.width, "height": frame.height}
    steps = [graph.add_buffer(format=frame.format, time_base=Fraction(1, 10), **size)]
    for each in filters:
        name, _, value = each.partition("=")
        steps.append(graph.add(name, value))
    graph.link_nodes(*steps, graph.add("buffersink")).configure()
    graph.push(frame)
    return torch.from_numpy(graph.pull().to_ndarray(format="rgb24").copy()).permute(2, 0, 1)


@pytest.mark.parametrize("matrix", FILTERS)
@pytest.mark.parametrize("factor", [1, 0.5])
def test_pictures_are_turned_and_mirrored_as_ffmpeg_does(tmp_path, matrix, factor):
    path = write_video(tmp_path / "v.mp4", 40, picture=moving)
    plain = read_frames(path, lambda n: [37]).images[0]
    set_matrix(path, [factor * value for value in matrix])
    shown = read_frames(path, lambda n: [37]).images[0]
    assert torch.equal(shown, filtered(plain, FILTERS[matrix]))
    assert torch.equal(shown, plain) == (matrix == (1, 0, 0, 1))
    clip = read_clip(path, lambda n: [37], 24).images
    assert torch.equal(clip, resize_and_crop(shown[None], 24))


def test_side_data_without_a_name_hides_no_turn(tmp_path):
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    wide = Image.fromarray(pattern(5))
    wide.save(tmp_path / "plain.jpg", quality=95)
    wide.save(tmp_path / "turned.jpg", quality=95, exif=exif)
    plain, turned = (
        read_frames(tmp_path / name, lambda n: [0]).images for name in ("plain.jpg", "turned.jpg")
    )
    assert torch.equal(turned, torch.rot90(plain, -1, (2, 3)))


def test_pixels_that_are_not_square_stay_as_coded(tmp_path):
    square = write_video(tmp_path / "square.mp4", 10, picture=moving)
    wide = write_video(tmp_path / "wide.mp4", 10, picture=moving, aspect="2:1")
    with av.open(str(wide)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2
    images = [read_frames(path, lambda n: [7]).images for path in (square, wide)]
    assert torch.equal(*images)


def test_the_main_stream_is_the_first_that_is_shown_by_default(tmp_path):
    def half(index):
        return pattern(index, 24, 32)

    plain = read_frames(write_streams(tmp_path / "one.mkv", pattern), lambda n: [3, 7]).images
    for name, pictures, default in (
        ("first.mkv", (pattern, half), 0),
        ("second.mkv", (half, pattern), 1),
        ("second.mp4", (half, pattern), 1),
        ("none.mkv", (pattern, half), None),
    ):
        path = write_streams(tmp_path / name, *pictures, default=default)
        assert torch.equal(read_frames(path, lambda n: [3, 7]).images, plain), name
        info = probe(path)
        assert (info.num_frames, info.width, info.height) == (10, 64, 48)


def test_a_cover_is_no_video(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", 20)
    covered = write_covered(tmp_path / "covered.mp4", plain)
    with av.open(str(covered)) as container:
        assert [stream.codec.name for stream in container.streams.video] == ["mjpeg", "h264"]
    assert vars(probe(covered)) == vars(probe(plain))
    images = [read_frames(path, lambda n: [0, 13]).images for path in (plain, covered)]
    assert torch.equal(*images)
    song = write_covered(tmp_path / "song.mp4", write_sound(tmp_path / "sound.m4a", "aac"))
    for read in (probe, lambda path: read_frames(path, lambda n: [0])):
        with pytest.raises(VideoError, match="no video stream but a cover picture"):
            read(song)


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
