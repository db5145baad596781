"""All classes on one picture, so that a person can judge whether they are recognisable.

Run `python -m knowledge.stickworld.contact_sheet OUT.png [SEED]`.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from knowledge.stickworld.classes import CLASSES
from knowledge.stickworld.drawing.render import ClipPlan, Part, render_clip
from knowledge.stickworld.drawing.scene import FRAME_PX

NUM_SHOWN = 6
_LABEL_PX = 14
_GAP_PX = 6


def contact_sheet(path: Path, seed: int, columns: int = 2) -> None:
    """Write a PNG with one strip of six frames per class, in order of id.

    Args:
        path: of the picture.
        seed: of the data set that the clips are drawn like.
        columns: strips side by side.
    """
    rows = -(-len(CLASSES) // columns)
    strip_px = NUM_SHOWN * FRAME_PX + _GAP_PX
    size = (columns * strip_px - _GAP_PX, rows * (FRAME_PX + _LABEL_PX))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for index, entry in enumerate(CLASSES):
        plan = ClipPlan(f"sheet_{entry.class_id:02d}", "test", (entry.name,), (Part(entry.name),))
        frames = render_clip(plan, seed)
        left = index // rows * strip_px
        top = index % rows * (FRAME_PX + _LABEL_PX)
        draw.text((left + 2, top + 1), f"{entry.class_id} {entry.name}", fill=(0, 0, 0))
        shown = (np.arange(NUM_SHOWN) + 0.5) * len(frames) / NUM_SHOWN
        strip = np.concatenate([frames[int(k)] for k in shown], axis=1)
        sheet.paste(Image.fromarray(strip), (left, top + _LABEL_PX))
    sheet.save(path, format="PNG")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m knowledge.stickworld.contact_sheet OUT.png [SEED]")
    contact_sheet(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 0)
