"""The pictures that are wanted are those of a plain decode, from sound and bad files."""

import itertools
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import knowledge.video.decoding
from knowledge.video.decoding import VideoError, can_skip, decode, reasons, seconds
from knowledge.video.frames import read_clip, read_frames, resize_and_crop
from knowledge.video.packets import display_order, list_packets, listing_of, runs_for
from knowledge.video.probing import probe
from knowledge.video.sampling import segment_centres
from tests.video_files import (
    BAD_FILES,
    SOUND_FILES,
    flip_bits,
    index_of,
    moving,
    write_bad_files,
    write_edited,
    write_packed,
    write_video,
)

NUM_FRAMES = 40
MORE_FILES = ["packed.avi", "edited.mp4", "fragmented.mp4", "variable-rate.mp4"]
IN_ONE_PASS = {"h264.avi", "h264.ts", "mpeg2.mpg", "vp8.webm", "mjpeg.avi", "ffv1.mkv", "gif.gif"}
IN_ONE_PASS |= {"wmv2.asf"}


def literal(path):
    """Every frame of the file, one after the other, and its time: the definition of right."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        images = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
        pts_s = [float(frame.pts * stream.time_base) for frame in frames]
    return torch.from_numpy(images).permute(0, 3, 1, 2), np.array(pts_s)


def write(path):
    if path.name == "packed.avi":
        return write_packed(path, NUM_FRAMES)
    if path.name == "edited.mp4":
        return write_edited(path)
    if path.name == "fragmented.mp4":
        flags = {"movflags": "frag_keyframe+empty_moov"}
        return write_video(path, NUM_FRAMES, picture=moving, container_options=flags, g="12")
    if path.name == "variable-rate.mp4":
        times = list(itertools.accumulate([0, *([1, 3, 2, 7] * NUM_FRAMES)][:NUM_FRAMES]))
        return write_video(path, NUM_FRAMES, picture=moving, times=times, g="12", bf="2")
    codec, options = SOUND_FILES[path.name]
    return write_video(path, NUM_FRAMES, codec, picture=moving, **options)


@dataclass(frozen=True)
class Decoded:
    """A file and what a plain decode makes of it."""

    path: Path
    images: torch.Tensor = field(repr=False)
    pts_s: np.ndarray = field(repr=False)


@pytest.fixture(scope="module", params=[*SOUND_FILES, *MORE_FILES])
def decoded(request, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("sound") / request.param)
    return Decoded(path, *literal(path))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_wanted_frames_are_those_of_a_plain_decode(decoded, data):
    count = probe(decoded.path).num_frames
    assert count == len(decoded.images)
    wanted = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=16))
    frames = read_frames(decoded.path, lambda n: wanted)
    assert torch.equal(frames.images, decoded.images[wanted])
    in_avi = decoded.path.suffix == ".avi"  # whose pictures come with the times of their packets
    pts_s = np.arange(count) / 10 if in_avi else decoded.pts_s
    np.testing.assert_allclose(frames.pts_s, pts_s[wanted], atol=1e-6)


def test_files_that_tell_their_order_are_not_decoded_in_one_pass(decoded):
    path = decoded.path
    with knowledge.video.decoding.opened(path) as (container, stream):
        order = display_order(container, stream, list_packets(container, stream, 10**6))
    assert (order is None) == (path.name in IN_ONE_PASS)


def test_large_files_are_read_twice_instead_of_kept(decoded):
    found = {}

    def keep(pixels_HWC, position):
        found[position] = torch.from_numpy(pixels_HWC.copy()).permute(2, 0, 1)

    decode(decoded.path, lambda n: [3, 17, 30], keep, kept_bytes=100)
    assert sorted(found) == [3, 17, 30]
    for position, image in found.items():
        assert torch.equal(image, decoded.images[position])


def test_a_clip_is_the_frames_resized(decoded):
    frames = read_frames(decoded.path, lambda n: [2, 2, 33])
    clip = read_clip(decoded.path, lambda n: [2, 2, 33], 24, short_side=30)
    assert torch.equal(clip.images, resize_and_crop(frames.images, 24, 30))
    assert np.array_equal(clip.pts_s, frames.pts_s)


def test_nothing_that_is_not_needed_is_decoded(decoded, monkeypatch):
    """The packets lead to the pictures at once: no second try, even for leading pictures."""
    if decoded.path.name in IN_ONE_PASS | {"refresh.mp4", "interlaced.mp4"}:
        return
    monkeypatch.delattr(knowledge.video.decoding, "_decode_again")
    count = len(decoded.images)
    for position in range(count):
        read_frames(decoded.path, lambda n, wanted=position: [wanted])
    read_frames(decoded.path, lambda n: list(range(n)))


@pytest.mark.parametrize("name", ["open-gop.mp4", "all-intra.mp4", "gop-12.mp4", "packed.avi"])
def test_runs_begin_at_the_nearest_key_frame(tmp_path, name):
    path = write(tmp_path / name)
    with knowledge.video.decoding.opened(path) as (container, stream):
        order = display_order(container, stream, list_packets(container, stream, 10**6))
    for position, index in enumerate(order.shown):
        (run,) = runs_for(order, [position])
        assert (run.stop, run.positions) == (index + 1, {index: position})
        starts = [k for k in order.keys if k <= index and order.ranks[k] <= order.ranks[index]]
        assert run.start == max(starts)
    runs = runs_for(order, range(len(order.shown)))
    assert [(run.start, run.stop) for run in runs] == [(0, len(order.ranks))]


def test_hevc_with_layers_is_never_skipped(tmp_path):
    for name, skips in (("hevc-layers.mp4", False), ("hevc.mkv", True), ("vp9.webm", False)):
        with knowledge.video.decoding.opened(write(tmp_path / name)) as (_, stream):
            assert can_skip(stream.codec_context) == skips


def test_bad_files_say_why_or_give_the_frames_there_are(tmp_path):
    for name, reason in write_bad_files(tmp_path).items():
        path = tmp_path / name
        if reason is None:
            frames = read_frames(path, lambda n: segment_centres(n, 8))
            images, _ = literal(path)
            assert torch.equal(frames.images, images[segment_centres(len(images), 8)]), name
            continue
        with pytest.raises(VideoError, match=reason) as caught:
            read_frames(path, lambda n: segment_centres(n, 8))
        assert str(path) in str(caught.value)
        assert "\n" not in caught.value.reason
        assert str(tmp_path) not in caught.value.reason


def test_the_reason_is_the_same_in_every_directory(tmp_path):
    reasons_of = []
    for folder in (tmp_path / "one", tmp_path / "another"):
        reasons_of.append({})
        for name, reason in write_bad_files(folder).items():
            if reason is not None:
                with pytest.raises(VideoError) as caught:
                    read_frames(folder / name, lambda n: segment_centres(n, 8))
                reasons_of[-1][name] = caught.value.reason
    assert reasons_of[0] == reasons_of[1]
    assert len(reasons_of[0]) == sum(reason is not None for reason in BAD_FILES.values())


@pytest.mark.parametrize("name", ["gop-12.mp4", "mpeg4.avi", "open-gop.mkv", "vp9.webm"])
def test_flipped_bits_end_in_frames_or_a_reason(tmp_path, name):
    data = write(tmp_path / name).read_bytes()
    path = tmp_path / f"flipped-{name}"
    for seed in range(8):
        path.write_bytes(flip_bits(data, seed))
        said = None
        try:
            frames = read_frames(path, lambda n: segment_centres(n, 8))
        except VideoError as error:
            said = error.reason
        if said is None:
            assert frames.images.shape[:2] == (8, 3)
            assert np.isfinite(frames.pts_s).all()
        else:
            assert "\n" not in said
            assert str(tmp_path) not in said


def test_damage_elsewhere_leaves_the_other_groups_alone(tmp_path):
    """Only the wanted groups are decoded, so only their damage counts."""
    path = write(tmp_path / "gop-12.mp4")
    images, _ = literal(path)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    third = [index for index, packet in enumerate(packets) if packet.is_keyframe][2]
    data = bytearray(path.read_bytes())
    start, stop = packets[third].pos + 8, packets[third].pos + packets[third].size
    data[start:stop] = np.random.default_rng(0).bytes(stop - start)
    path.write_bytes(data)
    assert torch.equal(read_frames(path, lambda n: [2, 15]).images, images[[2, 15]])


def test_the_first_size_is_read_before_it_changes(tmp_path):
    write_bad_files(tmp_path)
    frames = read_frames(tmp_path / "changing-size.ts", lambda n: [0, 5])
    assert [index_of(image) for image in frames.images.numpy()] == [0, 5]
    assert frames.images.shape == (2, 3, 48, 64)


@pytest.mark.parametrize("kind", ["new_extradata", "param_change", "skip_samples"])
def test_side_data_that_changes_decoding_leaves_the_order_open(tmp_path, kind):
    assert kind in get_args(av.packet.PktSideDataT)
    path = write(tmp_path / "gop-12.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        first = SimpleNamespace(
            **{name: getattr(packets[0], name) for name in ("pts", "dts", "size")},
            is_keyframe=True,
            is_discard=False,
            iter_sidedata=lambda: iter([SimpleNamespace(data_type=kind)]),
        )
        listing = listing_of([first, *packets[1:]])
        assert listing.changing == (kind != "skip_samples")
        assert (display_order(container, stream, listing) is None) == listing.changing


def test_frames_cut_off_by_an_edit_list_do_not_exist(tmp_path):
    path = write_edited(tmp_path / "edited.mp4")
    counts = []
    frames = read_frames(path, lambda n: counts.append(n) or range(n))
    assert counts == [35]
    assert probe(path).num_frames == 35
    assert [index_of(image) for image in frames.images.numpy()] == list(range(5, 40))
    assert frames.pts_s[:2] == pytest.approx([0, 0.1])


@pytest.mark.parametrize("error", [ValueError, AttributeError, IndexError])
def test_odd_errors_of_the_decoder_are_reasons(tmp_path, error):
    with pytest.raises(VideoError) as caught, reasons(tmp_path / "a", "damaged"):
        raise error(f"odd {tmp_path / 'a'}\nmore")
    assert caught.value.reason == "damaged (odd a)"


def test_a_frame_without_time_stamp_is_timed_by_the_frame_rate():
    assert seconds(30, Fraction(1, 10), Fraction(25), 7) == 3
    assert seconds(None, Fraction(1, 10), Fraction(25), 7) == 7 / 25
    assert seconds(None, Fraction(1, 10), None, 7) is None
