"""What surrounds the action: stage, background, camera and sensor."""

from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from knowledge.stickworld.drawing.canvas import SUPERSAMPLING, Canvas
from knowledge.stickworld.drawing.figure import Person, draw_arm, draw_person
from knowledge.stickworld.drawing.props import Prop, draw_prop
from knowledge.stickworld.drawing.style import Style

FRAME_PX = 112
"""Width and height of a frame."""

_TILE_PX = 168
_MARGIN_PX = 16


@dataclass
class Stage:
    """State of the world at one moment; actions write it, `draw_stage` paints it."""

    style: Style
    people: list[Person]
    back: list[Prop] = field(default_factory=list)
    front: list[Prop] = field(default_factory=list)
    travel: float = 0.0
    """How far everybody has moved along x since the clip began, in world units."""
    wander: float = 0.0
    """How much of this the camera does not follow."""


@dataclass(frozen=True)
class Camera:
    """Where the world's origin appears and how the camera moves, all in output pixels."""

    unit_px: float
    origin_x_px: float
    floor_y_px: float
    pan_px: tuple[float, float]
    """Movement over the whole clip."""
    zoom: float
    """Growth over the whole clip, 1 for none."""
    shake_px: tuple[float, float, float]
    """Amplitude of hand shake, and its phases in x and y."""
    brightness: float
    contrast: float
    noise: float
    """Standard deviation of the sensor noise in 8-bit levels."""

    def view(self, u: float) -> tuple[float, float, float]:
        """Zoom and offset (x, y) in output pixels at time u."""
        shake, phase_x, phase_y = self.shake_px
        dx = self.pan_px[0] * (u - 0.5) + shake * np.sin(7.0 * u + phase_x)
        dy = self.pan_px[1] * (u - 0.5) + shake * np.sin(9.0 * u + phase_y)
        return self.zoom ** (u - 0.5), float(dx), float(dy)


def draw_camera(
    rng: np.random.Generator, num_people: int, width: float, headroom: float, closeness: float = 1.0
) -> Camera:
    """Draw a camera that keeps a scene of the given width in the frame.

    Args:
        rng: source of the draws.
        num_people: one person takes 56 to 76 % of the frame's height, two people take 53 to 66 %.
        width: of the scene around the origin, in world units.
        headroom: what rises above a standing person, in world units.
        closeness: how much nearer than usual the camera is.
    """
    low, high = (0.56, 0.76) if num_people == 1 else (0.53, 0.66)
    floor = rng.uniform(0.85, 0.93) * FRAME_PX
    unit = rng.uniform(low, high) * FRAME_PX * closeness
    unit = min(unit, (floor - 5.0) / (1.02 + headroom), (FRAME_PX - 8.0) / width)
    slack = max(0.0, (FRAME_PX - 6.0 - width * unit) / 2.0)
    return Camera(
        unit_px=unit,
        origin_x_px=FRAME_PX / 2.0 + rng.uniform(-1.0, 1.0) * min(slack, 14.0),
        floor_y_px=floor,
        pan_px=(rng.uniform(-5.0, 5.0), rng.uniform(-2.5, 2.5)),
        zoom=rng.uniform(0.94, 1.06),
        shake_px=(rng.uniform(0.0, 0.8), rng.uniform(0.0, 6.28), rng.uniform(0.0, 6.28)),
        brightness=rng.uniform(-16.0, 16.0),
        contrast=rng.uniform(0.88, 1.1),
        noise=rng.uniform(1.0, 4.5),
    )


def _muted(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    grey = rng.uniform(low, high)
    return np.asarray(grey + rng.uniform(-22.0, 22.0, size=3), dtype=np.float32)


def _blobs(rng: np.random.Generator, height: int, width: int, cell_px: int) -> np.ndarray:
    """Smooth noise in [-1, 1], shape (height, width)."""
    coarse = rng.uniform(-1.0, 1.0, size=(height // cell_px + 2, width // cell_px + 2))
    image = Image.fromarray(coarse.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _texture(rng: np.random.Generator, height: int, width: int, rows: bool) -> np.ndarray:
    """One of several patterns around 0 with an amplitude of about 1, shape (height, width)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    kind = int(rng.integers(7))
    period = rng.uniform(8.0, 26.0)
    phase = rng.uniform(0.0, period)
    pattern: np.ndarray = np.zeros((height, width), dtype=np.float32)
    if kind == 1:
        pattern = np.sign(np.sin(2 * np.pi * ((y if rows else x) + phase) / period))
    elif kind == 2:
        pattern = np.sin(2 * np.pi * (x + rng.uniform(-1.2, 1.2) * y + phase) / period)
    elif kind == 3:
        pattern = 1.8 * _blobs(rng, height, width, int(rng.integers(6, 26)))
    elif kind == 4:
        pattern = 0.8 * rng.standard_normal((height, width), dtype=np.float32)
    elif kind == 5:
        pattern = np.sign(np.sin(2 * np.pi * (x + phase) / period) * np.sin(2 * np.pi * y / period))
    elif kind == 6:
        row = np.floor(y / (period / 2))
        joint = ((x + (row % 2) * period / 2) % period < 1.2) | (y % (period / 2) < 1.2)
        pattern = np.where(joint, -1.6, 0.2)
    return np.asarray(pattern, dtype=np.float32)


def _clutter(rng: np.random.Generator, image: np.ndarray, horizon: int) -> None:
    """Hang pictures, windows and round shapes on the wall, in place."""
    for _ in range(int(rng.integers(0, 6))):
        width, height = int(rng.integers(10, 34)), int(rng.integers(8, 30))
        top = int(rng.integers(0, max(1, horizon - height)))
        left = int(rng.integers(0, _TILE_PX - width))
        patch = image[top : min(top + height, horizon), left : left + width]
        colour = _muted(rng, 60.0, 220.0)
        if rng.uniform() < 0.3:
            y, x = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]].astype(np.float32)
            inside = (2 * x / width - 1) ** 2 + (2 * y / height - 1) ** 2 < 1
            patch[inside] = 0.45 * patch[inside] + 0.55 * colour
        else:
            inner = 0.35 * patch + 0.65 * colour
            patch[:] = 0.5 * patch + 0.5 * _muted(rng, 50.0, 200.0)
            patch[2:-2, 2:-2] = inner[2:-2, 2:-2]


def draw_background(rng: np.random.Generator, floor_y_px: float) -> Image.Image:
    """Draw a wall and a floor that can be scrolled sideways without end.

    Returns:
        RGB image; its width is two periods of `_TILE_PX * 2`, its height a frame and two margins.
    """
    height = FRAME_PX + 2 * _MARGIN_PX
    horizon = int(floor_y_px) + _MARGIN_PX - int(rng.integers(4, 18))
    image = np.empty((height, _TILE_PX, 3), dtype=np.float32)
    dark = rng.uniform() < 0.35
    wall = _muted(rng, 50.0, 100.0) if dark else _muted(rng, 130.0, 215.0)
    image[:] = wall
    image += rng.uniform(-30.0, 30.0) * np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    tint = rng.uniform(0.6, 1.0, size=3).astype(np.float32)
    texture = _texture(rng, height, _TILE_PX, rows=False)
    image += rng.uniform(4.0, 20.0) * texture[..., None] * tint
    _clutter(rng, image, horizon)
    floor = _muted(rng, 60.0, 190.0)
    texture = _texture(rng, height - horizon, _TILE_PX, rows=True)
    strength = rng.uniform(3.0, 14.0)
    image[horizon:] = floor + strength * texture[..., None] * tint
    if rng.uniform() < 0.6:
        image[horizon - 2 : horizon] = 0.6 * wall
    tile = np.clip(image, 0.0, 255.0).astype(np.uint8)
    period = np.concatenate([tile, tile[:, ::-1]], axis=1)
    return Image.fromarray(np.concatenate([period, period], axis=1))


def draw_stage(stage: Stage, background: Image.Image, camera: Camera, u: float) -> np.ndarray:
    """Paint one moment without noise.

    Args:
        stage: what to paint.
        background: from `draw_background`.
        camera: how it is seen.
        u: time in [0, 1], for the camera's drift.

    Returns:
        float32 array (112, 112, 3), range [0, 255].
    """
    zoom, dx, dy = camera.view(u)
    scroll_px = (stage.travel - stage.wander) * camera.unit_px
    half = FRAME_PX / 2.0
    left = half - (half + dx) / zoom + scroll_px
    top = half - (half + dy) / zoom + _MARGIN_PX
    picture = background.transform(
        (FRAME_PX, FRAME_PX),
        Image.Transform.AFFINE,
        (1.0 / zoom, 0.0, left % (2 * _TILE_PX), 0.0, 1.0 / zoom, top),
        Image.Resampling.BILINEAR,
    )
    size = SUPERSAMPLING * FRAME_PX
    picture = picture.resize((size, size), Image.Resampling.NEAREST)
    origin_x = half + dx + zoom * (camera.origin_x_px - half)
    origin_y = half + dy + zoom * (camera.floor_y_px - half)
    unit = SUPERSAMPLING * zoom * camera.unit_px
    origin = (SUPERSAMPLING * origin_x + unit * stage.wander, SUPERSAMPLING * origin_y)
    _paint(Canvas(picture, origin, unit), stage)
    return np.asarray(picture.reduce(SUPERSAMPLING), dtype=np.float32)


def _paint(canvas: Canvas, stage: Stage) -> None:
    posed = [(person, person.joints()) for person in stage.people]
    for _, joints in posed:
        spread = [p[0] for p in (*joints.ankles, joints.pelvis, joints.head)]
        canvas.shadow((min(spread) + max(spread)) / 2.0, 0.1 + (max(spread) - min(spread)) / 2.0)
    for prop in stage.back:
        draw_prop(canvas, prop)
    for person, joints in reversed(posed):
        draw_person(canvas, person, joints)
    for person, joints in posed:
        if person.arm_on_top:
            draw_arm(canvas, person, joints, 0, 0.0)
    for prop in stage.front:
        draw_prop(canvas, prop)


def expose(frame: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and sensor noise: float32 (112, 112, 3) to uint8 of the same shape."""
    exposed = rng.standard_normal(frame.shape, dtype=np.float32)
    exposed *= camera.noise
    frame = frame - 128.0
    frame *= camera.contrast
    frame += 128.0 + camera.brightness
    exposed += frame
    exposed += 0.5
    return np.clip(exposed, 0.0, 255.0, out=exposed).astype(np.uint8)
