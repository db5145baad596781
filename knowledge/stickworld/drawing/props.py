"""Objects of the world: what they look like."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from knowledge.stickworld.drawing.canvas import Canvas, Colour, Point, blend, rotate

PropKind = Literal[
    "ball", "bicycle", "book", "bottle", "box", "cart", "chair", "cup", "door", "parcel", "phone"
]

DARK: Colour = (34, 34, 40)
METAL: Colour = (150, 154, 162)


@dataclass(frozen=True)
class Prop:
    """An object: `x`, `y` is its centre (a door's, chair's, cart's, bicycle's foot) in world units.

    `angle` turns it clockwise in degrees, `facing` mirrors it, `phase` is the part that moves: the
    opening of a door in [0, 1], the turn of wheels in degrees.
    """

    kind: PropKind
    x: float
    y: float = 0.0
    size: float = 1.0
    colour: Colour = (200, 160, 90)
    angle: float = 0.0
    facing: int = 1
    phase: float = 0.0

    def at(self, dx: float, dy: float) -> Point:
        """Own coordinates, in units of `size`, to world units."""
        x, y = rotate((dx * self.size, dy * self.size), self.angle)
        return self.x + self.facing * x, self.y + y

    def outline(self, *corners: Point) -> list[Point]:
        """Several points of `at`."""
        return [self.at(*corner) for corner in corners]


def _rectangle(prop: Prop, half_width: float, half_height: float) -> list[Point]:
    w, h = half_width, half_height
    return prop.outline((-w, -h), (w, -h), (w, h), (-w, h))


def _box(canvas: Canvas, prop: Prop) -> None:
    canvas.polygon(_rectangle(prop, 0.13, 0.105), prop.colour)
    tape = blend(prop.colour, (250, 240, 200), 0.6)
    canvas.polygon(_rectangle(prop, 0.022, 0.105), tape, outline=False)
    canvas.line(prop.outline((-0.13, 0.045), (0.13, 0.045)), 0.01, blend(prop.colour, DARK, 0.5))


def _ball(canvas: Canvas, prop: Prop) -> None:
    canvas.disc((prop.x, prop.y), 0.068 * prop.size, prop.colour)
    stripe = blend(prop.colour, (255, 255, 255), 0.75)
    canvas.line(prop.outline((-0.055, 0.02), (0.0, -0.015), (0.055, 0.02)), 0.018, stripe)


def _phone(canvas: Canvas, prop: Prop) -> None:
    canvas.polygon(_rectangle(prop, 0.027, 0.062), prop.colour)
    canvas.polygon(_rectangle(prop, 0.013, 0.04), (120, 200, 240), outline=False)


def _cup(canvas: Canvas, prop: Prop) -> None:
    canvas.ring(prop.at(0.055, 0.0), 0.032 * prop.size, 0.013, blend(prop.colour, DARK, 0.3))
    body = prop.outline((-0.04, -0.055), (0.04, -0.055), (0.052, 0.055), (-0.052, 0.055))
    canvas.polygon(body, prop.colour)
    canvas.line(prop.outline((-0.046, 0.005), (0.046, 0.005)), 0.02, (250, 250, 250))


def _parcel(canvas: Canvas, prop: Prop) -> None:
    canvas.polygon(_rectangle(prop, 0.062, 0.05), prop.colour)
    ribbon = blend(prop.colour, (255, 255, 255), 0.8)
    canvas.line(prop.outline((0.0, -0.05), (0.0, 0.05)), 0.018, ribbon)
    canvas.line(prop.outline((-0.062, 0.0), (0.062, 0.0)), 0.018, ribbon)


def _book(canvas: Canvas, prop: Prop) -> None:
    canvas.polygon(_rectangle(prop, 0.05, 0.065), prop.colour)
    canvas.polygon(_rectangle(prop, 0.03, 0.02), (245, 240, 220), outline=False)


def _bottle(canvas: Canvas, prop: Prop) -> None:
    canvas.polygon(
        prop.outline((-0.016, 0.04), (0.016, 0.04), (0.016, 0.095), (-0.016, 0.095)), DARK
    )
    canvas.polygon(_rectangle(prop, 0.034, 0.06), prop.colour)
    canvas.polygon(_rectangle(prop, 0.034, 0.02), (245, 245, 245), outline=False)


def _door(canvas: Canvas, prop: Prop) -> None:
    """Hinged on its far side; the free edge swings towards the camera."""
    w, h = 0.46, 1.2
    frame = prop.outline((-0.045, 0.0), (w + 0.045, 0.0), (w + 0.045, h + 0.05), (-0.045, h + 0.05))
    canvas.polygon(frame, blend(prop.colour, (255, 255, 255), 0.65))
    canvas.polygon(prop.outline((0, 0), (w, 0), (w, h), (0, h)), (30, 28, 36))
    canvas.polygon(prop.outline((0, 0), (w, 0), (w * 0.8, 0.2), (w * 0.2, 0.2)), (70, 64, 60))
    edge, grow = door_edge(prop.phase)
    leaf = [(w, 0.0), (edge, -grow), (edge, h + grow), (w, h)]
    canvas.polygon(prop.outline(*leaf), prop.colour)
    panel = blend(prop.colour, DARK, 0.3)
    for low, high in ((0.12, 0.5), (0.62, 0.92)):
        left, right = edge + (w - edge) * 0.22, w - (w - edge) * 0.22
        corners = [(right, low * h), (left, low * h), (left, high * h), (right, high * h)]
        canvas.polygon(prop.outline(*corners), panel, outline=False)
    canvas.disc(prop.at(edge + (w - edge) * 0.1, 0.56), 0.026, (240, 205, 90))


def door_edge(opening: float) -> tuple[float, float]:
    """Where the free edge is, from the door's left edge, and how much taller it looks there."""
    angle = math.radians(78.0 * opening)
    return 0.46 * (1.0 - math.cos(angle)), 0.07 * math.sin(angle)


def _cart(canvas: Canvas, prop: Prop) -> None:
    bars = blend(METAL, DARK, 0.45)
    for x in (0.1, 0.46):
        canvas.disc(prop.at(x, 0.055), 0.055, DARK)
        canvas.disc(prop.at(x, 0.055), 0.022, METAL, outline=False)
    canvas.line(prop.outline((0.02, 0.55), (0.1, 0.13), (0.5, 0.13)), 0.026, bars)
    basket = prop.outline((0.08, 0.24), (0.5, 0.24), (0.58, 0.52), (0.05, 0.52))
    canvas.polygon(basket, blend(prop.colour, METAL, 0.35))
    for share in (0.2, 0.4, 0.6, 0.8):
        low, high = 0.08 + 0.42 * share, 0.05 + 0.53 * share
        canvas.line(prop.outline((low, 0.24), (high, 0.52)), 0.012, DARK)
    canvas.line(prop.outline((0.06, 0.38), (0.55, 0.38)), 0.012, DARK)
    canvas.limb(prop.outline((0.05, 0.52), (-0.04, 0.6)), 0.016, (200, 40, 40))


def _bicycle(canvas: Canvas, prop: Prop) -> None:
    """Saddle above the origin at 0.5, handlebar at (0.33, 0.6), crank at (0.04, 0.2)."""
    for x in (-0.28, 0.42):
        canvas.ring(prop.at(x, 0.19), 0.19, 0.032, DARK)
        for spoke in range(3):
            dx, dy = rotate((0.0, 0.17), prop.phase + 60.0 * spoke)
            ends = prop.outline((x + dx, 0.19 + dy), (x - dx, 0.19 - dy))
            canvas.line(ends, 0.009, (190, 192, 198))
    tubes = prop.outline(
        (-0.28, 0.19), (0.04, 0.2), (0.3, 0.48), (-0.04, 0.44), (-0.28, 0.19), (0.04, 0.2),
        (-0.06, 0.48),
    )  # fmt: skip
    canvas.limb(tubes, 0.014, prop.colour)
    canvas.limb(prop.outline((0.42, 0.19), (0.3, 0.48), (0.27, 0.58), (0.34, 0.6)), 0.014, METAL)
    canvas.limb(prop.outline((-0.11, 0.49), (0.0, 0.49)), 0.022, DARK)
    dx, dy = rotate((0.0, 0.08), prop.phase)
    canvas.limb(prop.outline((0.04 + dx, 0.2 + dy), (0.04 - dx, 0.2 - dy)), 0.012, METAL)


def _chair(canvas: Canvas, prop: Prop) -> None:
    """Seat above the origin; its upper side is at 0.2 and the rest stands behind."""
    wood = prop.colour
    for x in (-0.1, 0.12):
        canvas.limb(prop.outline((x, 0.01), (x, 0.17)), 0.016, blend(wood, DARK, 0.3))
    canvas.limb(prop.outline((-0.12, 0.175), (-0.16, 0.52)), 0.02, wood)
    canvas.limb(prop.outline((-0.12, 0.175), (0.14, 0.175)), 0.024, wood)


_DRAWERS: dict[PropKind, Callable[[Canvas, Prop], None]] = {
    "ball": _ball,
    "bicycle": _bicycle,
    "book": _book,
    "bottle": _bottle,
    "box": _box,
    "cart": _cart,
    "chair": _chair,
    "cup": _cup,
    "door": _door,
    "parcel": _parcel,
    "phone": _phone,
}


def draw_prop(canvas: Canvas, prop: Prop) -> None:
    """Draw one object."""
    _DRAWERS[prop.kind](canvas, prop)
