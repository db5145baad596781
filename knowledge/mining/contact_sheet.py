"""Hard negatives on one picture: what a video is taken for, to be judged by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from artifacts.artifact import Artifact
from artifacts.files import replacing
from artifacts.views.negatives import Candidate, negatives_of
from knowledge.video.frames import read_clip

NUM_SHOWN = 4
"""Hard negatives of each video."""
_FRAME_PX, _GAP_PX, _LINE_PX, _FONT_PX = 176, 10, 17, 13
_BLACK, _GREY, _RED = (0, 0, 0), (110, 110, 110), (200, 30, 30)
_TITLE = (
    "Left: a video and its class. Beside it: its hardest negatives among the classes of the data "
    "set, the hardest first, each",
    "by a training video of that class. Numbers: rank, and cosine of the class's text with the "
    "video on the left.",
)


def contact_sheet(
    path: Path,
    negatives: Artifact,
    videos: Artifact,
    root: Path,
    video_ids: Sequence[str],
    marked: Mapping[int, int],
    caption: str,
) -> None:
    """Write a PNG with a row per video: its middle frame, and one of each hardest negative class.

    Args:
        path: of the picture.
        negatives: the artifact.
        videos: artifact of the mined videos.
        root: directory of their files.
        video_ids: of mined videos, one per row.
        marked: class id -> the one of its negatives that is framed in red.
        caption: what the red frames mean.

    Raises:
        ValueError: a video has no negatives in the artifact.
        VideoError: a video cannot be read.
    """
    table = videos.read(["video_id", "path", "split", "class_ids", "status"]).to_pylist()
    usable = [row for row in table if row["status"] == "ok"]
    path_of = {row["video_id"]: root / row["path"] for row in usable}
    examples: dict[int, Path] = {}
    for row in usable:
        if row["split"] == "train" and len(row["class_ids"]) == 1:
            examples.setdefault(row["class_ids"][0], root / row["path"])
    width = (1 + NUM_SHOWN) * (_FRAME_PX + _GAP_PX) + 2 * _GAP_PX
    title = (*_TITLE, caption)
    top = _GAP_PX + (len(title) + 1) * _LINE_PX
    row_px = _FRAME_PX + 2 * _LINE_PX + _GAP_PX
    sheet = Image.new("RGB", (width, top + len(video_ids) * row_px), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    draw.font = ImageFont.load_default(_FONT_PX)
    for number, line in enumerate(title):
        draw.text((_GAP_PX, _GAP_PX + number * _LINE_PX), line, fill=_BLACK)
    for video_id in video_ids:
        own, nearest = _row(negatives, video_id, set(examples))
        _paste(sheet, draw, (_GAP_PX, top), path_of[video_id], own, None)
        for place, each in enumerate(nearest, start=1):
            assert each.class_id is not None
            is_marked = own.class_id is not None and marked.get(own.class_id) == each.class_id
            left = 2 * _GAP_PX + place * (_FRAME_PX + _GAP_PX)
            colour = _RED if is_marked else None
            _paste(sheet, draw, (left, top), examples[each.class_id], each, colour)
        top += row_px
    with replacing(path, durable=False) as temporary:
        sheet.save(temporary, format="PNG")


def _row(negatives: Artifact, video_id: str, shown: set[int]) -> tuple[Candidate, list[Candidate]]:
    """A video's own class, and its hardest negatives of classes that there is a video of."""
    candidates = negatives_of(negatives, video_id, negatives.manifest.num_rows)
    own = next(each for each in candidates if each.status == "own_class")
    kept = [each for each in candidates if each.rank and each.class_id in shown]
    return own, sorted(kept, key=lambda each: each.rank or 0)[:NUM_SHOWN]


def _paste(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    path: Path,
    candidate: Candidate,
    colour: tuple[int, int, int] | None,
) -> None:
    """The middle frame of a video above its class, framed if there is a colour."""
    left, top = corner
    frame = read_clip(path, lambda num_frames: [num_frames // 2], _FRAME_PX)
    sheet.paste(Image.fromarray(frame.images[0].permute(1, 2, 0).numpy()), corner)
    if colour:
        draw.rectangle(
            (left, top, left + _FRAME_PX - 1, top + _FRAME_PX - 1), outline=colour, width=4
        )
    below = top + _FRAME_PX + 1
    fitting = _shortened(draw, candidate.name)
    draw.text((left, below), fitting, fill=colour or _BLACK)
    rank = "its own class" if candidate.rank is None else f"rank {candidate.rank}"
    draw.text((left, below + _LINE_PX), f"{rank}, cosine {candidate.cosine:.2f}", fill=_GREY)


def _shortened(draw: ImageDraw.ImageDraw, name: str) -> str:
    """A class name that fits below its frame."""
    shown = name
    while shown and draw.textlength(shown if shown == name else f"{shown}...") > _FRAME_PX:
        shown = shown[:-1]
    return shown if shown == name else f"{shown}..."
