"""What varies from clip to clip: how people look and move. Every draw depends on its seed words."""

import hashlib
import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from knowledge.stickworld.drawing.canvas import Colour
from knowledge.stickworld.drawing.figure import Body

SKINS: tuple[Colour, ...] = ((244, 205, 172), (226, 172, 134), (188, 128, 92), (128, 82, 56))
HAIRS: tuple[Colour, ...] = (
    (28, 22, 22),
    (84, 52, 30),
    (150, 100, 44),
    (206, 176, 96),
    (120, 120, 124),
)


def generator(*words: object) -> np.random.Generator:
    """A random generator that depends on `words` only, the same in every process."""
    digest = hashlib.sha256("\x1f".join(str(word) for word in words).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def vivid(rng: np.random.Generator, low: float = 0.45) -> Colour:
    """A saturated colour of random hue; its value is in [low, 0.95]."""
    return hsv(rng.uniform(), rng.uniform(0.55, 0.95), rng.uniform(low, 0.95))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Hue, saturation and value in [0, 1] as 8-bit RGB."""
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + 6.0 * hue) % 6.0
        channels.append(value - value * saturation * max(0.0, min(k, 4.0 - k, 1.0)))
    return round(255 * channels[0]), round(255 * channels[1]), round(255 * channels[2])


def smooth(x: float) -> float:
    """0 below 0, 1 above 1, and a soft S in between."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3.0 - 2.0 * x)


def keys(x: float, *points: tuple[float, float]) -> float:
    """Piecewise soft interpolation through (x, value) points of ascending x."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * smooth((x - x0) / (x1 - x0))
    return points[-1][1]


def pulse(phase: float) -> float:
    """0 at whole phases, 1 half-way between."""
    return 0.5 - 0.5 * math.cos(2.0 * math.pi * phase)


def sine(phase: float) -> float:
    """Sine of a phase counted in turns."""
    return math.sin(2.0 * math.pi * phase)


CLIP_S = 4.0
"""Length of a clip in seconds."""


@dataclass(frozen=True)
class Style:
    """Draws of one clip that its actions share.

    Time runs as u in [0, 1] over a clip. `progress` is for motions that happen once, `cycles` for
    motions that repeat.
    """

    speed: float
    """Multiplies the rate of repeated motions."""
    amplitude: float
    """Multiplies how far limbs swing."""
    start_phase: float
    hold_start: float
    """Share of the clip before a motion that happens once begins."""
    hold_end: float
    """Share of the clip after it has ended."""
    choice: tuple[float, ...]
    """Eight numbers in [0, 1) for the variants of an action: 0 seen from the front or the side, 1
    keeps lying or gets up, 2 and 3 size and kind of what is held, 4 to 7 whatever the action has:
    hands, limbs, furniture."""
    colour: Colour
    """Of the main object."""
    wander: float
    """How far a travelling person moves within the frame, in world units."""
    bodies: tuple[Body, Body]

    def progress(self, u: float) -> float:
        """Share of a motion that happens once: u with the holds cut off, in [0, 1]."""
        return min(1.0, max(0.0, (u - self.hold_start) / (1.0 - self.hold_start - self.hold_end)))

    def cycles(self, u: float, rate_hz: float) -> float:
        """Turns since the clip began, plus the start phase."""
        return self.start_phase + u * CLIP_S * rate_hz * self.speed

    def repeat(self, u: float, count: float) -> float:
        """Turns of a motion that happens about `count` times in a clip, starting at rest."""
        return self.progress(u) * max(1.0, round(count * self.speed))


def _draw_body(rng: np.random.Generator) -> Body:
    stature = rng.uniform(0.94, 1.04)
    build = rng.uniform(0.9, 1.2)
    leg = rng.uniform(0.95, 1.05)
    body = Body()
    return replace(
        body,
        thigh=body.thigh * stature * leg,
        shank=body.shank * stature * leg,
        torso=body.torso * stature * (2.0 - leg),
        head=body.head * rng.uniform(0.94, 1.1),
        upper_arm=body.upper_arm * stature * rng.uniform(0.97, 1.05),
        fore_arm=body.fore_arm * stature * rng.uniform(0.97, 1.05),
        limb_radius=body.limb_radius * build,
        torso_radius=body.torso_radius * build,
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
        shirt=vivid(rng, 0.6),
        trousers=hsv(rng.uniform(), rng.uniform(0.2, 0.8), rng.uniform(0.25, 0.6)),
        shoes=hsv(rng.uniform(), rng.uniform(0.0, 0.5), rng.uniform(0.12, 0.3)),
        long_sleeves=bool(rng.uniform() < 0.5),
    )


def draw_style(rng: np.random.Generator) -> Style:
    """Draw a style; always the same number of draws, whatever the clip shows."""
    return Style(
        speed=rng.uniform(0.8, 1.25),
        amplitude=rng.uniform(0.88, 1.12),
        start_phase=rng.uniform(),
        hold_start=rng.uniform(0.0, 0.2),
        hold_end=rng.uniform(0.0, 0.2),
        choice=tuple(float(x) for x in rng.uniform(size=8)),
        colour=vivid(rng, 0.6),
        wander=rng.uniform(-0.12, 0.22),
        bodies=(_draw_body(rng), _draw_body(rng)),
    )
