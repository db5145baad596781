"""From a plan to frames."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from knowledge.stickworld.actions import ACTIONS, Action
from knowledge.stickworld.drawing.figure import Limb, Person, Pose
from knowledge.stickworld.drawing.scene import (
    FRAME_PX,
    Camera,
    Stage,
    draw_background,
    draw_camera,
    draw_stage,
    expose,
)
from knowledge.stickworld.drawing.style import Style, draw_style, generator, smooth

NUM_FRAMES = 32
RENDERER_VERSION = 2
"""Raised whenever the same plan would give other pixels."""

TIMES = tuple(index / (NUM_FRAMES - 1) for index in range(NUM_FRAMES))
"""Of the frames of a clip, in [0, 1]."""
BLEND = 0.08
"""Share of a clip in which a part that begins or ends within it is faded in or out."""

_PARTS: dict[str, Any] = {
    "skin": (255, 255, 0),
    "hair": (255, 160, 0),
    "shoes": (0, 255, 200),
    "long_sleeves": True,
}
BLUEPRINT: tuple[dict[str, Any], ...] = (
    {**_PARTS, "shirt": (255, 0, 0), "trousers": (0, 200, 0)},
    {**_PARTS, "shirt": (255, 0, 120), "trousers": (0, 120, 0)},
)
"""Colours of the first and the second person in a blueprint."""
BLUEPRINT_OBJECT = (80, 80, 255)

_ORDER = {"body": 0, "hands": 1, "pair": 2}


@dataclass(frozen=True)
class Part:
    """One action within a clip."""

    name: str
    """A class name."""
    who: int = 0
    """Which person acts: 0 or 1."""
    start: float = 0.0
    """When it begins and ends, as shares of the clip."""
    end: float = 1.0
    cut: bool = False
    """Begin and end at once, because the neighbouring part continues from the same posture."""


@dataclass(frozen=True)
class ClipPlan:
    """A clip before it is rendered: its id, its truth and who does what."""

    video_id: str
    split: str
    labels: tuple[str, ...]
    """Class names in order of id."""
    parts: tuple[Part, ...]
    gap: float | None = None
    """Distance between two people; the largest of their actions' if None, negative swaps them."""
    shift: float = 0.0
    """Moves two people along x, to make room on one side."""
    follows: bool = False
    """Two people face the same way, whatever their actions would do."""


def render_clip(plan: ClipPlan, seed: int) -> np.ndarray:
    """Render a clip.

    Looks, speed, place and camera depend on (seed, plan.video_id) only and are drawn in the same
    way for every class; two plans that differ only in "lift a box" against "put down a box" give
    the same frames in opposite order.

    Args:
        plan: what happens.
        seed: of the whole data set.

    Returns:
        uint8 array (32, 112, 112, 3), RGB.
    """
    style = draw_style(generator("style", seed, plan.video_id))
    camera, mirror = _camera(plan, seed)
    background = draw_background(generator("background", seed, plan.video_id), camera.floor_y_px)
    noise = generator("noise", seed, plan.video_id)
    frames = [
        expose(draw_stage(set_stage(plan, style, u), background, camera, u), camera, noise)
        for u in TIMES
    ]
    if _is_backwards(plan):
        frames.reverse()
    return _mirrored(np.stack(frames), mirror)


def render_blueprint(plan: ClipPlan, seed: int, indices: Sequence[int]) -> np.ndarray:
    """Frames of the same clip without its looks: flat colours that name body parts, on black.

    It says where limbs and objects are, whatever they wear and stand before, and so serves as the
    target of an auxiliary loss.

    Args:
        plan: the clip.
        seed: of the dataset.
        indices: which T of `render_clip`'s frames.

    Returns:
        uint8 array (T, 56, 56, 3), RGB, half the side of `render_clip`'s frames.
    """
    times = TIMES[::-1] if _is_backwards(plan) else TIMES
    style = draw_style(generator("style", seed, plan.video_id))
    camera, mirror = _camera(plan, seed)
    bodies = tuple(
        replace(body, **colours) for body, colours in zip(style.bodies, BLUEPRINT, strict=True)
    )
    flat = replace(style, colour=BLUEPRINT_OBJECT, bodies=(bodies[0], bodies[1]))
    black = draw_background(generator("background", seed, plan.video_id), camera.floor_y_px)
    black.paste((0, 0, 0), (0, 0, *black.size))
    half = FRAME_PX // 2
    frames = [draw_stage(set_stage(plan, flat, times[i]), black, camera, times[i]) for i in indices]
    small = np.stack(frames).reshape(-1, half, 2, half, 2, 3).mean(axis=(2, 4))
    return _mirrored(small.astype(np.uint8), mirror)


def _camera(plan: ClipPlan, seed: int) -> tuple[Camera, bool]:
    """How a clip is seen, and whether it is mirrored."""
    rng = generator("camera", seed, plan.video_id)
    mirror = bool(rng.uniform() < 0.5)
    actions = [ACTIONS[part.name] for part in plan.parts]
    width, headroom = max(a.width for a in actions), max(a.headroom for a in actions)
    width += _extra_width(plan, actions)
    closeness = min(a.closeness for a in actions)
    return draw_camera(rng, _num_people(plan), width, headroom, closeness), mirror


def _mirrored(frames: np.ndarray, mirror: bool) -> np.ndarray:
    return np.ascontiguousarray(frames[:, :, ::-1] if mirror else frames)


def set_stage(plan: ClipPlan, style: Style, u: float) -> Stage:
    """Everybody and everything of a clip at time u in [0, 1], tracks merged.

    A clip of one time-reversed action is set forwards; `render_clip` turns the finished frames
    round, so that camera and noise are turned as well.
    """
    if len(plan.parts) > 1:
        # Below 0.35: `get_up` keeps lying, for the others act lying down.
        style = replace(style, choice=(style.choice[0], 0.0, *style.choice[2:]))
    stage = Stage(style, _place(plan, style))
    bodies = {part.who for part in plan.parts if ACTIONS[part.name].track == "body"}
    for who in range(len(stage.people)):
        name = ACTIONS[plan.parts[0].name].body if len(plan.parts) == 1 else "stand"
        if who not in bodies or any(part.start > 0.0 for part in plan.parts):
            ACTIONS[name].play(stage, who, u)
    for part in sorted(plan.parts, key=lambda part: _ORDER[ACTIONS[part.name].track]):
        _play(stage, part, u, _is_backwards(plan))
    if stage.travel and all(part.start <= 0.0 for part in plan.parts):
        stage.wander = style.wander * (2.0 * u - 1.0)
    return stage


def _play(stage: Stage, part: Part, u: float, turned_later: bool) -> None:
    """Let a part act, blended with what the joints do without it near the ends of its window."""
    if not (part.start <= u < part.end or u == part.end == 1.0):
        return
    local = (u - part.start) / (part.end - part.start)
    enter = 1.0 if part.cut or part.start <= 0.0 else smooth((u - part.start) / BLEND)
    leave = 1.0 if part.cut or part.end >= 1.0 else smooth((part.end - u) / BLEND)
    share = min(enter, leave)
    before = [copy.deepcopy(person.pose) for person in stage.people] if share < 1.0 else []
    action, style = ACTIONS[part.name], stage.style
    stage.style = replace(style, speed=style.speed * (part.end - part.start))
    action.play(stage, part.who, 1.0 - local if action.reverse and not turned_later else local)
    stage.style = style
    if share < 1.0:
        for person, pose in zip(stage.people, before, strict=True):
            person.pose = _between(pose, person.pose, share)


def _between(first: Pose, second: Pose, share: float) -> Pose:
    """Joint-wise interpolation; what cannot be interpolated is taken from `second`."""

    def mix(a: float, b: float) -> float:
        return a + (b - a) * share

    def limbs(a: list[Limb], b: list[Limb]) -> list[Limb]:
        return [(mix(p[0], q[0]), mix(p[1], q[1])) for p, q in zip(a, b, strict=True)]

    return replace(
        second,
        x=mix(first.x, second.x),
        lift=mix(first.lift, second.lift),
        lean=mix(first.lean, second.lean),
        tilt=mix(first.tilt, second.tilt),
        nod=mix(first.nod, second.nod),
        arms=limbs(first.arms, second.arms),
        legs=limbs(first.legs, second.legs),
    )


def _is_backwards(plan: ClipPlan) -> bool:
    return len(plan.parts) == 1 and ACTIONS[plan.parts[0].name].reverse


def _num_people(plan: ClipPlan) -> int:
    return max(max(ACTIONS[part.name].people, part.who + 1) for part in plan.parts)


def _gap(plan: ClipPlan) -> float:
    if plan.gap is not None:
        return plan.gap
    return max(
        (ACTIONS[p.name].gap for p in plan.parts if ACTIONS[p.name].people == 2), default=0.6
    )


def _extra_width(plan: ClipPlan, actions: list[Action]) -> float:
    """Room for what one person does beside another one."""
    if _num_people(plan) == 1:
        return 0.0
    alone = [action.width for action in actions if action.people == 1]
    pairs = [action.width for action in actions if action.people == 2]
    return max(0.0, abs(_gap(plan)) + max(alone, default=0.0) - max([*alone, *pairs]))


def _place(plan: ClipPlan, style: Style) -> list[Person]:
    if _num_people(plan) == 1:
        views = [ACTIONS[part.name].view for part in plan.parts]
        front = "side" not in views and ("front" in views or style.choice[0] < 0.5)
        return [Person(style.bodies[0], Pose(front=front))]
    follows = plan.follows or any(ACTIONS[part.name].follows for part in plan.parts)
    half = _gap(plan) / 2.0
    return [
        Person(style.bodies[0], Pose(x=plan.shift - half)),
        Person(style.bodies[1], Pose(x=plan.shift + half, facing=1 if follows else -1)),
    ]
