"""Drawing in world units on a supersampled Pillow image.

World: x to the right, y up, one unit is the height of a standing grown-up, the floor is y = 0.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]

SUPERSAMPLING = 3
"""Pixels drawn per output pixel and axis; the picture is averaged down at the end."""

OUTLINE: Colour = (26, 24, 30)
OUTLINE_WIDTH = 0.011
"""World units; the dark rim that keeps a limb visible in front of a body of the same colour."""


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """`first` moved towards `second` by `share` in [0, 1]."""
    r, g, b = (round(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return r, g, b


class Canvas:
    """A picture with a camera: where the world's origin lies and how many pixels a unit takes."""

    def __init__(self, image: Image.Image, origin_px: Point, unit_px: float) -> None:
        """Draw on `image`; `origin_px` and `unit_px` are in supersampled pixels."""
        self.image = image
        self.draw = ImageDraw.Draw(image)
        self.origin_px = origin_px
        self.unit_px = unit_px

    def project(self, point: Point) -> Point:
        """World units to supersampled pixels."""
        return (
            self.origin_px[0] + self.unit_px * point[0],
            self.origin_px[1] - self.unit_px * point[1],
        )

    def disc(self, centre: Point, radius: float, fill: Colour, outline: bool = True) -> None:
        """A filled circle."""
        x, y = self.project(centre)
        r = radius * self.unit_px
        if outline:
            rim = r + OUTLINE_WIDTH * self.unit_px
            self.draw.ellipse((x - rim, y - rim, x + rim, y + rim), fill=OUTLINE)
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)

    def ring(self, centre: Point, radius: float, width: float, colour: Colour) -> None:
        """A circle line of the given width."""
        x, y = self.project(centre)
        r = radius * self.unit_px
        box = (x - r, y - r, x + r, y + r)
        self.draw.ellipse(box, outline=colour, width=max(1, round(width * self.unit_px)))

    def limb(
        self, points: Sequence[Point], radius: float, fill: Colour, outline: bool = True
    ) -> None:
        """A chain of thick segments with round ends and joints."""
        pixels = [self.project(p) for p in points]
        if outline:
            self._chain(pixels, (radius + OUTLINE_WIDTH) * self.unit_px, OUTLINE)
        self._chain(pixels, radius * self.unit_px, fill)

    def _chain(self, pixels: list[Point], r: float, colour: Colour) -> None:
        self.draw.line(pixels, fill=colour, width=max(1, round(2 * r)))
        for x, y in pixels:
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def polygon(self, points: Sequence[Point], fill: Colour, outline: bool = True) -> None:
        """A filled polygon."""
        pixels = [self.project(p) for p in points]
        if outline:
            width = max(1, round(2 * OUTLINE_WIDTH * self.unit_px))
            self.draw.line([*pixels, pixels[0], pixels[1]], fill=OUTLINE, width=width)
        self.draw.polygon(pixels, fill=fill)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """A plain line without rim."""
        pixels = [self.project(p) for p in points]
        self.draw.line(pixels, fill=colour, width=max(1, round(width * self.unit_px)))

    def shadow(self, x: float, half_width: float) -> None:
        """Darken an ellipse on the floor below `x`."""
        centre_x, centre_y = self.project((x, 0.0))
        rx, ry = half_width * self.unit_px, 0.028 * self.unit_px
        left, top = math.floor(centre_x - rx), math.floor(centre_y - ry)
        width, height = math.ceil(2 * rx), math.ceil(2 * ry)
        mask = Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).ellipse((0, 0, width - 1, height - 1), fill=90)
        self.image.paste((15, 15, 20), (left, top, left + width, top + height), mask)


def between(first: Point, second: Point, share: float) -> Point:
    """The point at a share of the way."""
    return (
        first[0] + (second[0] - first[0]) * share,
        first[1] + (second[1] - first[1]) * share,
    )


def rotate(vector: Point, degrees: float) -> Point:
    """`vector` turned clockwise, the way a figure that faces right leans forward."""
    c, s = _turn(degrees)
    return vector[0] * c + vector[1] * s, vector[1] * c - vector[0] * s


@lru_cache(maxsize=64)
def _turn(degrees: float) -> tuple[float, float]:
    """Cosine and sine; most points of a figure are turned by the same few angles."""
    angle = math.radians(degrees)
    return math.cos(angle), math.sin(angle)
