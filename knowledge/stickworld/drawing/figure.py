"""An articulated figure: body proportions, joint angles, forward kinematics, drawing.

Angles are in degrees. A limb at 0 hangs down along the torso; positive turns it forward (towards
where the figure faces) or, if the figure is seen from the front, outward. Elbows add to the upper
arm's angle, knees subtract from the thigh's. Index 0 is the limb near the camera (on the right in a
front view), index 1 the far one.
"""

import math
from dataclasses import dataclass, field

from knowledge.stickworld.drawing.canvas import Canvas, Colour, Point, blend, rotate
from knowledge.stickworld.drawing.props import Prop, draw_prop

Limb = tuple[float, float]
"""Angles of the upper and the lower joint of an arm or a leg."""


@dataclass(frozen=True)
class Body:
    """Lengths in world units and colours of one person."""

    thigh: float = 0.235
    shank: float = 0.235
    torso: float = 0.30
    neck: float = 0.03
    head: float = 0.088
    upper_arm: float = 0.165
    fore_arm: float = 0.16
    limb_radius: float = 0.03
    torso_radius: float = 0.07
    skin: Colour = (224, 172, 136)
    hair: Colour = (60, 40, 30)
    shirt: Colour = (200, 40, 40)
    trousers: Colour = (40, 60, 120)
    shoes: Colour = (40, 40, 40)
    long_sleeves: bool = True


@dataclass
class Pose:
    """Where a figure is and how its joints stand; see the module docstring for the angles."""

    x: float = 0.0
    """Pelvis, world units."""
    lift: float = 0.0
    """Height of the lowest point of the body above the floor."""
    pelvis_y: float | None = None
    """Fixes the pelvis instead of putting the lowest point on the floor (a rider on a saddle)."""
    facing: int = 1
    """1 looks to the right, -1 to the left."""
    front: bool = False
    """Seen from the front instead of from the side."""
    lean: float = 0.0
    """Torso against the legs, positive forward (front view: to the right)."""
    tilt: float = 0.0
    """The whole body about the pelvis, 90 lies face down, -90 lies face up."""
    nod: float = 0.0
    """Head against the torso, positive forward."""
    look: int = 1
    """-1 turns the head back over the shoulder."""
    mouth: float = 0.0
    """Opening in [0, 1]."""
    arms: list[Limb] = field(default_factory=lambda: [(4.0, 8.0), (-2.0, 8.0)])
    legs: list[Limb] = field(default_factory=lambda: [(4.0, 2.0), (-4.0, 2.0)])
    shorten: Limb = (1.0, 1.0)
    """Apparent length of either leg in a front view, where a raised knee comes at the camera."""


@dataclass
class Person:
    """A body in a pose with what it holds."""

    body: Body
    pose: Pose
    held: list[Prop] = field(default_factory=list)
    """Drawn in front of the torso and behind the near arm."""
    arm_on_top: bool = False
    """Draw the near arm after everybody else, as an arm that lies around another person."""

    def joints(self) -> "Joints":
        """Forward kinematics of the present pose."""
        return solve(self.body, self.pose)

    def point(self, joint: str, forward: float = 0.0, up: float = 0.0) -> Point:
        """A place next to a joint ("neck", "head", "pelvis"), `forward` along the gaze."""
        x, y = getattr(self.joints(), joint)
        return x + self.pose.facing * forward, y + up

    def reach(self, arm: int, target: Point, bend: int = 1) -> None:
        """Set an arm so that its hand is at `target`, or points there if it is too far away.

        `bend` 1 lets the elbow hang (side view), -1 turns it outward (front view).
        """
        pose = self.pose
        vector = self._local(self.joints().shoulders[arm], target, pose.tilt + pose.lean, arm)
        angle, inner, flex = _two_bones(vector, self.body.upper_arm, self.body.fore_arm)
        pose.arms[arm] = (angle - bend * inner, bend * flex)

    def step(self, leg: int, target: Point) -> None:
        """Set a leg so that its ankle is at `target`; meaningful while `pelvis_y` is fixed."""
        vector = self._local(self.joints().hips[leg], target, self.pose.tilt, leg)
        angle, inner, flex = _two_bones(vector, self.body.thigh, self.body.shank)
        self.pose.legs[leg] = (angle + inner, flex)

    def _local(self, start: Point, end: Point, turned: float, limb: int) -> Point:
        x, y = rotate(((end[0] - start[0]) * self.pose.facing, end[1] - start[1]), -turned)
        return (-x, y) if self.pose.front and limb == 1 else (x, y)


@dataclass
class Joints:
    """Joint positions in world units; pairs are (near, far)."""

    pelvis: Point
    neck: Point
    head: Point
    shoulders: list[Point]
    elbows: list[Point]
    hands: list[Point]
    hips: list[Point]
    knees: list[Point]
    ankles: list[Point]
    toes: list[Point]


def _two_bones(vector: Point, upper: float, lower: float) -> tuple[float, float, float]:
    """Direction of `vector`, angle between it and the upper bone, flexion of the middle joint."""
    reach = math.hypot(*vector)
    distance = min(max(reach, abs(upper - lower) + 0.01), upper + lower - 1e-4)
    inner = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    middle = (upper**2 + lower**2 - distance**2) / (2 * upper * lower)
    return (
        math.degrees(math.atan2(vector[0], -vector[1])),
        math.degrees(math.acos(min(1.0, max(-1.0, inner)))),
        180.0 - math.degrees(math.acos(min(1.0, max(-1.0, middle)))),
    )


def _along(start: Point, length: float, degrees: float, side: int) -> Point:
    angle = math.radians(degrees)
    return start[0] + side * length * math.sin(angle), start[1] - length * math.cos(angle)


def _arm(body: Body, pose: Pose, index: int) -> tuple[Point, Point, Point]:
    side = -1 if pose.front and index == 1 else 1
    spread = (0.092 if pose.front else 0.012) * (1 if index == 0 else -1)
    shoulder = (spread, body.torso - 0.035)
    upper, flex = pose.arms[index]
    elbow = _along(shoulder, body.upper_arm, upper, side)
    hand = _along(elbow, body.fore_arm, upper + flex, side)
    turned = [rotate(p, pose.lean) for p in (shoulder, elbow, hand)]
    return turned[0], turned[1], turned[2]


def _leg(body: Body, pose: Pose, index: int) -> tuple[Point, Point, Point, Point]:
    side = -1 if pose.front and index == 1 else 1
    hip = ((0.045 if pose.front else 0.01) * (1 if index == 0 else -1), 0.0)
    thigh, flex = pose.legs[index]
    length = pose.shorten[index]
    knee = _along(hip, body.thigh * length, thigh, side)
    ankle = _along(knee, body.shank * length, thigh - flex, side)
    if pose.front:
        toe = (ankle[0] + side * 0.025, ankle[1] - 0.02)
    else:
        forward = rotate((0.075, -0.012), -0.8 * (thigh - flex))
        toe = (ankle[0] + forward[0], ankle[1] + forward[1])
    return hip, knee, ankle, toe


def solve(body: Body, pose: Pose) -> Joints:
    """Joint positions of `body` in `pose`."""
    arms = [_arm(body, pose, i) for i in (0, 1)]
    legs = [_leg(body, pose, i) for i in (0, 1)]
    neck = rotate((0.0, body.torso), pose.lean)
    up = rotate((0.0, body.neck + body.head), pose.lean + pose.nod)
    head = (neck[0] + up[0], neck[1] + up[1])
    lowest = [((0.0, 0.0), body.torso_radius), (neck, body.torso_radius), (head, body.head)]
    for _, knee, ankle, toe in legs:
        lowest += [(knee, body.limb_radius), (ankle, body.limb_radius), (toe, 0.024)]
    if pose.pelvis_y is None:
        shift = pose.lift - min(rotate(p, pose.tilt)[1] - r for p, r in lowest)
    else:
        shift = pose.pelvis_y

    def place(point: Point) -> Point:
        x, y = rotate(point, pose.tilt)
        return pose.x + pose.facing * x, y + shift

    return Joints(
        pelvis=place((0.0, 0.0)),
        neck=place(neck),
        head=place(head),
        shoulders=[place(arm[0]) for arm in arms],
        elbows=[place(arm[1]) for arm in arms],
        hands=[place(arm[2]) for arm in arms],
        hips=[place(leg[0]) for leg in legs],
        knees=[place(leg[1]) for leg in legs],
        ankles=[place(leg[2]) for leg in legs],
        toes=[place(leg[3]) for leg in legs],
    )


def draw_person(canvas: Canvas, person: Person, joints: Joints) -> None:
    """Draw far limbs, torso, head, held objects and near limbs, in this order."""
    body, pose = person.body, person.pose
    dim = 0.0 if pose.front else 0.28
    if not pose.front:
        draw_arm(canvas, person, joints, 1, dim)
    _draw_leg(canvas, body, joints, 1, dim)
    _draw_leg(canvas, body, joints, 0, 0.0)
    _draw_torso(canvas, body, pose, joints)
    _draw_head(canvas, body, pose, joints)
    for prop in person.held:
        draw_prop(canvas, prop)
    if pose.front:
        draw_arm(canvas, person, joints, 1, dim)
    if not person.arm_on_top:
        draw_arm(canvas, person, joints, 0, 0.0)


def draw_arm(canvas: Canvas, person: Person, joints: Joints, index: int, dim: float) -> None:
    """Draw one arm; `dim` in [0, 1] darkens it."""
    body = person.body
    sleeve = blend(body.shirt, (0, 0, 0), dim + 0.1)
    skin = blend(body.skin, (0, 0, 0), dim)
    shoulder, elbow, hand = joints.shoulders[index], joints.elbows[index], joints.hands[index]
    if body.long_sleeves:
        canvas.limb((shoulder, elbow, hand), body.limb_radius, sleeve)
    else:
        canvas.limb((shoulder, elbow, hand), body.limb_radius * 0.9, skin)
        canvas.limb((shoulder, elbow), body.limb_radius, sleeve, outline=False)
    canvas.disc(hand, 0.032, skin)


def _draw_leg(canvas: Canvas, body: Body, joints: Joints, index: int, dim: float) -> None:
    trousers = blend(body.trousers, (0, 0, 0), dim)
    canvas.limb((joints.ankles[index], joints.toes[index]), 0.024, body.shoes)
    chain = (joints.hips[index], joints.knees[index], joints.ankles[index])
    canvas.limb(chain, body.limb_radius * 1.15, trousers)


def _draw_torso(canvas: Canvas, body: Body, pose: Pose, joints: Joints) -> None:
    if pose.front:
        radius = 0.035
        corners = [*joints.shoulders, joints.hips[1], joints.hips[0], joints.shoulders[0]]
        canvas.limb(corners, radius, body.shirt)
        canvas.polygon(corners[:4], body.shirt, outline=False)
    else:
        x, y = joints.neck
        px, py = joints.pelvis
        top = (x + (px - x) * 0.22, y + (py - y) * 0.22)
        canvas.limb((top, joints.pelvis), body.torso_radius, body.shirt)
    canvas.limb((joints.neck, joints.head), 0.026, body.skin, outline=False)


def _draw_head(canvas: Canvas, body: Body, pose: Pose, joints: Joints) -> None:
    r = body.head
    turned = pose.lean + pose.nod + pose.tilt

    def at(forward: float, up: float) -> Point:
        x, y = rotate((forward * r * pose.look, up * r), turned)
        return joints.head[0] + pose.facing * x, joints.head[1] + y

    canvas.disc(joints.head, r, body.hair)
    if pose.front:
        canvas.disc(at(0.0, -0.18), 0.78 * r, body.skin, outline=False)
        features = [at(-0.32, -0.05), at(0.32, -0.05)]
    else:
        canvas.disc(at(0.98, -0.16), 0.2 * r, body.skin)
        canvas.disc(at(0.26, -0.14), 0.74 * r, body.skin, outline=False)
        features = [at(0.55, 0.05)]
    for eye in features:
        canvas.disc(eye, 0.13 * r, (20, 20, 24), outline=False)
    mouth = at(0.0 if pose.front else 0.66, -0.58)
    canvas.disc(mouth, (0.08 + 0.16 * pose.mouth) * r, (120, 30, 40), outline=False)
