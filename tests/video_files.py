"""Small real video files for tests: sound ones of many kinds, and bad ones."""

import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition


def pattern(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that tells its own index: the grey level of each of 8 blocks is one bit."""
    frame = np.full((height, width, 3), 16, np.uint8)
    block = width // 8
    for bit in range(8):
        if index >> bit & 1:
            frame[:, bit * block : (bit + 1) * block] = 235
    return frame


def moving(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A coarse random picture that slides: every frame differs, in all of its blocks."""
    tiles = np.random.default_rng(5).integers(0, 255, (height // 4 + 16, width // 4 + 32, 3))
    picture = np.kron(tiles, np.ones((4, 4, 1))).astype(np.uint8)
    shift = index % 64
    return np.ascontiguousarray(picture[shift : shift + height, 2 * shift : 2 * shift + width])


def index_of(image: np.ndarray) -> int:
    """The index that a decoded (3, H, W) frame tells."""
    block = image.shape[2] // 8
    means = [image[:, :, bit * block + 2 : (bit + 1) * block - 2].mean() for bit in range(8)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 125)


def write_video(
    path: Path,
    num_frames: int = 40,
    codec: str = "libx264",
    fps: int = 10,
    *,
    picture: Callable[[int], np.ndarray] = pattern,
    container_options: dict[str, str] | None = None,
    times: list[int] | None = None,
    **options: str,
) -> Path:
    """Encode `num_frames` frames of `picture`, at `times` (in 1 / fps) where given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = picture(0).shape[:2]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            if times is not None:
                frame.pts = times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


_OPEN = {"x264-params": "open-gop=1:b-adapt=0:scenecut=0:keyint=12:min-keyint=12", "bf": "3"}
_X265 = "log-level=none:pools=none:frame-threads=1:b-adapt=0"
_VPX = {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"}

SOUND_FILES: dict[str, tuple[str, dict[str, str]]] = {
    "gop-12.mp4": ("libx264", {"g": "12", "bf": "3"}),
    "gop-250.mp4": ("libx264", {"g": "250", "bf": "2"}),
    "all-intra.mp4": ("libx264", {"g": "1"}),
    "no-b.mkv": ("libx264", {"g": "12", "bf": "0"}),
    "pyramid.mp4": ("libx264", {"g": "24", "bf": "7", "x264-params": "b-pyramid=normal:b-adapt=0"}),
    "open-gop.mp4": ("libx264", _OPEN),
    "open-gop.mkv": ("libx264", _OPEN),
    "refresh.mp4": ("libx264", {"g": "12", "x264-params": "intra-refresh=1"}),
    "interlaced.mp4": ("libx264", {"g": "12", "flags": "+ildct+ilme"}),
    "h264.avi": ("libx264", {"g": "12", "bf": "2"}),
    "h264.ts": ("libx264", {"g": "12", "bf": "2"}),
    "hevc-open-gop.mp4": ("libx265", {"x265-params": f"{_X265}:keyint=12:bframes=3"}),
    "hevc.mkv": ("libx265", {"x265-params": f"{_X265}:keyint=12:bframes=3:open-gop=0"}),
    "hevc-layers.mp4": (
        "libx265",
        {"x265-params": f"{_X265}:keyint=24:bframes=4:temporal-layers=3"},
    ),
    "mpeg4.mp4": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4.mkv": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4-no-b.avi": ("mpeg4", {"g": "12"}),
    "mpeg2.mkv": ("mpeg2video", {"g": "12", "bf": "2"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "12", "bf": "2"}),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "threads": "1", **_VPX}),
    "vp8.webm": ("libvpx", {"g": "12", **_VPX}),
    "av1.mp4": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "lp=1"}),
    "mjpeg.mp4": ("mjpeg", {}),
    "mjpeg.avi": ("mjpeg", {}),
    "ffv1.mkv": ("ffv1", {}),
    "gif.gif": ("gif", {}),
    "wmv2.asf": ("wmv2", {"g": "12"}),
}
"""Name -> encoder and its options; the names say what is special."""


def write_packed(path: Path, num_frames: int = 40) -> Path:
    """MPEG-4 in AVI as DivX and XviD pack it: two pictures in one packet, none in the next."""
    plain = write_video(
        path.with_suffix(".plain.avi"), num_frames, "mpeg4", picture=moving, g="12", bf="1"
    )
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        datas = [bytes(packet) for packet in source.demux(video=0) if packet.size]
        keys = [packet.is_keyframe for packet in _packets(plain)]
        packed: list[tuple[bytes, bool]] = []
        for data, key in zip(datas, keys, strict=True):
            if data[data.index(b"\x00\x00\x01\xb6") + 4] >> 6 == 2:  # a B picture
                packed[-1] = (packed[-1][0] + data, packed[-1][1])
                packed.append((b"\x00\x00\x01\xb6\x50\x9f", False))  # a picture not coded
            else:
                packed.append((data, key))
        for index, (data, key) in enumerate(packed):
            packet = av.Packet(data)
            packet.dts = packet.pts = index
            packet.time_base, packet.is_keyframe, packet.stream = stream.time_base, key, stream
            target.mux(packet)
    plain.unlink()
    data = path.read_bytes()
    writer = data[data.index(b"Lavc") :][:13]
    path.write_bytes(data.replace(writer, b"DivX503b1393p"))  # p: packed
    return path


def _packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def write_edited(path: Path) -> Path:
    """35 frames, of which the first is in the middle of a group: an edit list hides 5 of 40."""
    whole = write_video(path.with_suffix(".whole.mp4"), 40, bf="2", g="20")
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.pts -= int(0.5 / packet.time_base)
                packet.dts -= int(0.5 / packet.time_base)
                packet.stream = stream
                target.mux(packet)
    whole.unlink()
    return path


def write_sound(path: Path, codec: str = "pcm_s16le") -> Path:
    """A file with an audio stream only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_streams(
    path: Path, *pictures: Callable[[int], np.ndarray], default: int | None = 0
) -> Path:
    """One h264 stream of 10 frames per function, of which one is shown by default."""
    with av.open(str(path), "w") as container:
        streams = []
        for number, picture in enumerate(pictures):
            stream = container.add_stream("libx264", rate=10, options={"bf": "0"})
            stream.height, stream.width = picture(0).shape[:2]
            stream.pix_fmt = "yuv420p"
            stream.disposition = Disposition.default if number == default else Disposition(0)
            streams.append(stream)
        for index in range(10):
            for stream, picture in zip(streams, pictures, strict=True):
                frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def write_covered(path: Path, source: Path) -> Path:
    """An MP4 file of the source's packets with a cover picture, which comes as its stream 0."""
    with av.open(str(source)) as given, av.open(str(path), "w", format="mp4") as target:
        template = given.streams[0]
        stream = target.add_stream_from_template(template)
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 50, 50, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        target.mux(cover.encode(av.VideoFrame.from_ndarray(pattern(0, 50, 50), format="rgb24")))
        target.mux(cover.encode(None))
        for packet in given.demux(template):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = path.read_bytes()
    start = data.index(b"moov") + 4
    first, facts = data.index(b"trak", start) - 4, data.index(b"udta", start) - 4
    size = struct.unpack(">I", data[facts : facts + 4])[0]
    about, rest = data[facts : facts + size], data[first:facts] + data[facts + size :]
    path.write_bytes(data[:first] + about + rest)  # which is read, and numbered, first
    return path


def flip_bits(data: bytes, seed: int, count: int = 40, start: float = 0.2) -> bytes:
    """The data with `count` bits flipped at random, none in the first part `start`."""
    rng = np.random.default_rng(seed)
    flipped = bytearray(data)
    for at in rng.integers(int(len(data) * start), len(data), count):
        flipped[at] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def write_changing_size(path: Path) -> Path:
    """10 frames of 64x48, then 10 of 128x96, in one transport stream."""
    small = write_video(path.with_suffix(".small.ts"), 10, bf="0")
    large = write_video(
        path.with_suffix(".large.ts"), 10, bf="0", picture=lambda index: pattern(index, 96, 128)
    )
    path.write_bytes(small.read_bytes() + large.read_bytes())
    small.unlink()
    large.unlink()
    return path


BAD_FILES: dict[str, str | None] = {
    "absent.mp4": "no such file",
    "dangling.mp4": "no such file",
    "directory.mp4": "not a file",
    "zero-bytes.mp4": "the file is empty",
    "text.mp4": "not a video file",
    "noise.mp4": "not a video file",
    "header-only.mp4": "not a video file",
    "without-index.mp4": "not a video file",
    "sound.mp4": "no video stream",
    "no-frames.mp4": "the video stream is empty",
    "unknown-codec.avi": "unknown codec",
    "zeroed.mkv": "no frame can be decoded|damaged|empty",
    "garbled.mp4": "damaged",
    "changing-size.ts": "the picture size changes in mid-stream",
    "cut-off.mkv": None,
    "cut-off.avi": None,
    "image.mp4": None,
}
"""Name -> what the reason must match when segment centres are read; None: frames come out.

dangling: a symbolic link to nowhere. header-only: the first bytes of an mp4. without-index: an mp4
whose second half (with the moov box) is missing. no-frames: a fragmented mp4 without a fragment.
unknown-codec: a codec tag that nobody knows. zeroed: the container's header, then zeros. garbled:
noise in place of all pictures. cut-off: the last third is missing, the rest is sound, and the
frames there are get sampled. image: a PNG renamed; a video of one frame.
"""


def write_bad_files(folder: Path) -> dict[str, str | None]:
    """One file of each kind of BAD_FILES in `folder`; returns BAD_FILES."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = write_video(folder / "whole.mp4").read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    (folder / "dangling.mp4").symlink_to(folder / "nowhere.mp4")
    (folder / "directory.mp4").mkdir()
    (folder / "zero-bytes.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("not a video")
    (folder / "noise.mp4").write_bytes(noise)
    (folder / "header-only.mp4").write_bytes(whole[:40])
    (folder / "without-index.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.mp4").unlink()
    write_sound(folder / "sound.wav").rename(folder / "sound.mp4")
    flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    empty = write_video(folder / "no-frames.mp4", 10, container_options=flags)
    empty.write_bytes(empty.read_bytes().split(b"moof")[0][:-4])
    unknown = write_video(folder / "unknown-codec.avi", 10, "mpeg4")
    unknown.write_bytes(unknown.read_bytes().replace(b"FMP4", b"ZZZZ"))
    zeroed = write_video(folder / "zeroed.mkv", 60)
    data = zeroed.read_bytes()
    zeroed.write_bytes(data[:600] + bytes(len(data) - 600))
    garbled = write_video(folder / "garbled.mp4", 40, picture=moving)
    data = garbled.read_bytes()
    start = data.index(b"mdat") + 4
    stop = start + struct.unpack(">I", data[start - 8 : start - 4])[0] - 8
    filling = (noise * (stop // len(noise) + 1))[: stop - start]
    garbled.write_bytes(data[:start] + filling + data[stop:])
    write_changing_size(folder / "changing-size.ts")
    for name, codec in (("cut-off.mkv", "libx264"), ("cut-off.avi", "mpeg4")):
        path = write_video(folder / name, 60, codec, picture=moving, g="12")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 2 // 3])
    with av.open(str(folder / "image.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pattern(5), format="rgb24")))
        container.mux(stream.encode(None))
    (folder / "image.png").rename(folder / "image.mp4")
    return BAD_FILES
