"""Person interaction: one function per class; person `who` acts on the other one of the stage.

The actor faces the partner unless said otherwise; both have been placed at a distance that
`actions.ACTIONS` states, and the body track has posed both.
"""

import math

from knowledge.stickworld.drawing.canvas import Point, between
from knowledge.stickworld.drawing.figure import Person
from knowledge.stickworld.drawing.movement import dance, run
from knowledge.stickworld.drawing.props import Prop, PropKind
from knowledge.stickworld.drawing.scene import Stage
from knowledge.stickworld.drawing.style import keys, pulse, sine, smooth

GIFTS: tuple[PropKind, ...] = ("parcel", "book", "bottle")


def _pair(stage: Stage, who: int) -> tuple[Person, Person]:
    return stage.people[who], stage.people[1 - who]


def _middle(first: Person, second: Person, y: float) -> Point:
    return (first.pose.x + second.pose.x) / 2.0, y


def talk(stage: Stage, who: int, u: float) -> None:
    """Two people face each other, take turns in speaking, and gesture with open hands."""
    style = stage.style
    turn = pulse(style.cycles(u, 0.35))
    first, second = _pair(stage, who)
    if first.pose.facing == second.pose.facing:
        ahead = first if (first.pose.x - second.pose.x) * first.pose.facing > 0 else second
        ahead.pose.look = -1
    for person, speaks in zip((first, second), (turn, 1.0 - turn), strict=True):
        beat = sine(style.cycles(u, 1.2) + 0.3 * speaks)
        person.pose.mouth = speaks * pulse(style.cycles(u, 2.1))
        person.pose.nod += 5.0 * beat * speaks
        gesture = smooth(speaks * 1.6 - 0.2)
        if person.held:
            continue
        person.pose.arms[0] = (10.0 + 22.0 * gesture, 14.0 + (62.0 + 22.0 * beat) * gesture)
        if style.choice[4] < 0.5:
            person.pose.arms[1] = (6.0 + 14.0 * gesture, 14.0 + (70.0 - 24.0 * beat) * gesture)


def shake_hands(stage: Stage, who: int, u: float) -> None:
    """Right hands clasp half-way at the height of the waist and go up and down."""
    style = stage.style
    first, second = _pair(stage, who)
    clasp = keys(u, (0.0, 0.3), (0.14, 1.0), (0.88, 1.0), (1.0, 0.4))
    shake = 0.035 * sine(style.cycles(u, 1.4)) * clasp
    x, y = _middle(first, second, 0.5 + shake)
    for person in (first, second):
        person.pose.lean += 4.0 * clasp
        person.reach(
            0, (x - 0.01 * person.pose.facing - (1 - clasp) * 0.14 * person.pose.facing, y)
        )


def hug(stage: Stage, who: int, u: float) -> None:
    """Step into each other's arms and stay there."""
    style = stage.style
    first, second = _pair(stage, who)
    close = keys(style.progress(u), (0.0, 0.25), (0.24, 1.0), (0.85, 1.0), (1.0, 0.6))
    gap = 0.52 - 0.31 * close
    centre = _middle(first, second, 0.0)[0]
    rock = 0.015 * sine(style.cycles(u, 0.5)) * close
    for person, height in ((first, 0.0), (second, -0.1)):
        pose = person.pose
        pose.x = centre - pose.facing * gap / 2.0 + rock
        pose.lean = 7.0 * close
        pose.nod = 12.0 * close
        other = second if person is first else first
        back = other.pose.x - other.pose.facing * 0.03
        neck = person.joints().neck[1]
        apart = (1.0 - close) * 0.12 * pose.facing
        person.reach(0, (back - apart, neck - 0.08 + height))
        person.reach(1, (back - apart, neck - 0.16 + height))
    first.arm_on_top = second.arm_on_top = True


def push(stage: Stage, who: int, u: float) -> None:
    """Both palms against the chest; the other one staggers back."""
    style = stage.style
    first, second = _pair(stage, who)
    p = style.progress(u)
    shove = keys(p, (0.0, 0.0), (0.24, 0.25), (0.4, 1.0), (0.62, 1.0), (0.95, 0.2))
    hit = keys(p, (0.3, 0.0), (0.48, 1.0), (0.7, 1.0), (1.0, 0.55))
    pose, other = first.pose, second.pose
    pose.x += pose.facing * 0.13 * shove
    pose.lean = 24.0 * shove
    pose.legs = [(26.0 * shove, 26.0 * shove), (-26.0 * shove - 2.0, 4.0)]
    other.x -= other.facing * (0.2 * hit - 0.04)
    other.tilt = -15.0 * hit
    other.lean = -6.0 * hit
    other.legs = [(16.0 * hit + 4.0, 4.0), (-16.0 * hit - 4.0, 20.0 * hit)]
    other.arms = [(8.0 + 70.0 * hit, 10.0 + 10.0 * hit), (50.0 * hit, 12.0)]
    chest = second.point("neck", 0.09, -0.1)
    cocked = first.point("neck", 0.12, -0.12)
    ahead = keys(p, (0.05, 0.3), (0.24, 0.3), (0.4, 1.0), (0.72, 0.92), (1.0, 0.3))
    first.reach(0, between(cocked, (chest[0], chest[1] + 0.02), ahead))
    first.reach(1, between(cocked, (chest[0], chest[1] - 0.03), ahead))


def give(stage: Stage, who: int, u: float) -> None:
    """Step up, hand an object over, step back with an empty hand; backwards it is taken.

    The partner only waits with an open hand, so it is always the actor who is on the move.
    """
    style = stage.style
    first, second = _pair(stage, who)
    p = style.progress(u)
    near = keys(p, (0.0, 0.0), (0.38, 1.0), (0.56, 1.0), (1.0, 0.0))
    pose, other = first.pose, second.pose
    pose.x += pose.facing * 0.15 * near
    pose.lean += 9.0 * near
    step = 14.0 * (
        keys(p, (0.0, 0.0), (0.19, 1.0), (0.38, 0.4), (0.56, 0.4), (0.78, 1.0), (1.0, 0.0))
    )
    pose.legs = [(4.0 + step, 4.0), (-4.0 - step, 4.0 + 0.5 * step)]
    meet = (other.x + 0.28 * other.facing, 0.6)
    other.lean += 1.0
    second.reach(0, (meet[0] + 0.02 * other.facing, meet[1] - 0.05))
    first.reach(0, between(first.point("neck", 0.2, -0.2), meet, near))
    handed = p > 0.47
    hand = (second if handed else first).joints().hands[0]
    facing = other.facing if handed else pose.facing
    kind = GIFTS[int(3 * style.choice[3])]
    gift = Prop(kind, hand[0] + 0.03 * facing, hand[1] + 0.05, 1.1, style.colour)
    (second if handed else first).held.append(gift)


def punch(stage: Stage, who: int, u: float) -> None:
    """A straight fist at the other one's head, who flinches behind a raised arm."""
    style = stage.style
    first, second = _pair(stage, who)
    turn = style.repeat(u, 2.4) % 1.0
    jab = keys(turn, (0.0, 0.0), (0.26, 0.1), (0.42, 1.0), (0.62, 1.0), (0.9, 0.0))
    hit = keys(turn, (0.34, 0.0), (0.5, 1.0), (0.66, 0.9), (1.0, 0.0))
    pose, other = first.pose, second.pose
    pose.lean = 3.0 + 12.0 * jab
    pose.legs = [(20.0 + 4.0 * jab, 14.0), (-20.0 - 4.0 * jab, 8.0)]
    pose.x += pose.facing * 0.03 * jab
    other.tilt = -7.0 * hit
    other.lean = -8.0 * hit
    other.nod = -14.0 * hit
    other.legs = [(10.0, 6.0), (-12.0, 8.0)]
    face = second.point("head", 0.1, -0.01)
    guard = second.point("head", 0.17, -0.02 + 0.05 * hit)
    first.reach(0, between(first.point("neck", 0.15, 0.0), face, jab))
    first.reach(1, first.point("neck", 0.14, 0.02))
    second.reach(0, (guard[0], guard[1]))
    second.reach(1, second.point("neck", 0.12, -0.06))


def high_five(stage: Stage, who: int, u: float) -> None:
    """Raised palms meet half-way at the height of the heads and part."""
    style = stage.style
    first, second = _pair(stage, who)
    turn = style.repeat(u, 2.0) % 1.0
    slap = keys(turn, (0.0, 0.0), (0.24, 0.35), (0.42, 1.0), (0.66, 1.0), (0.92, 0.0))
    head = (first.joints().head[1] + second.joints().head[1]) / 2.0
    x, y = _middle(first, second, head + 0.06)
    for person in (first, second):
        pose = person.pose
        pose.lean = 2.0 + 8.0 * slap
        pose.legs = [(14.0, 8.0), (-14.0, 6.0)]
        raised = person.point("head", 0.13, -0.04)
        person.reach(0, between(raised, (x - 0.012 * pose.facing, y), slap))


def chase(stage: Stage, who: int, u: float) -> None:
    """Two people run, the one behind with an arm stretched out for the one in front."""
    style = stage.style
    first, second = _pair(stage, who)
    run(stage, who, u)
    run(stage, 1 - who, u)
    gain = 0.09 * sine(style.cycles(u, 0.25))
    first.pose.x += gain * first.pose.facing
    reach = 0.02 * sine(style.cycles(u, 1.3))
    first.reach(0, first.point("neck", 0.3, 0.02 + reach))
    first.pose.lean += 5.0
    if style.choice[4] < 0.5:
        second.pose.look = -1


def arm_in_arm(stage: Stage, who: int, u: float) -> None:
    """Two people come towards the camera with hooked elbows."""
    style = stage.style
    stage.travel = 0.0
    for index, person in enumerate(_pair(stage, who)):
        pose = person.pose
        pose.front = True
        pose.facing = 1
        turn = style.cycles(u, 0.85) + 0.08 * index
        lift = max(0.0, sine(turn)), max(0.0, -sine(turn))
        pose.shorten = (1.0 - 0.2 * lift[0], 1.0 - 0.2 * lift[1])
        pose.legs = [(4.0, 4.0 + 5.0 * lift[0]), (4.0, 4.0 + 5.0 * lift[1])]
        pose.lean = 2.5 * sine(turn)
        pose.nod = 3.0 * sine(style.cycles(u, 0.3) + 0.5 * index)
    left, right = sorted(_pair(stage, who), key=lambda person: person.pose.x)
    swing = 12.0 * sine(style.cycles(u, 0.85))
    x, y = _middle(left, right, left.joints().neck[1] - 0.2)
    left.reach(0, (x + 0.07, y + 0.03), bend=-1)
    right.reach(1, (x - 0.03, y - 0.01), bend=-1)
    left.pose.arms[1] = (8.0 + swing, 8.0)
    right.pose.arms[0] = (8.0 - swing, 8.0)
    left.arm_on_top = True


def kick_person(stage: Stage, who: int, u: float) -> None:
    """A leg shoots out at the other one's belly, who doubles up."""
    style = stage.style
    first, second = _pair(stage, who)
    turn = style.repeat(u, 1.8) % 1.0
    chamber = keys(turn, (0.0, 0.0), (0.26, 1.0), (0.4, 1.0), (0.62, 1.0), (0.92, 0.0))
    out = keys(turn, (0.28, 0.0), (0.42, 1.0), (0.6, 1.0), (0.76, 0.0))
    hit = keys(turn, (0.38, 0.0), (0.52, 1.0), (0.7, 0.8), (1.0, 0.0))
    pose, other = first.pose, second.pose
    pose.legs = [(6.0 + (70.0 + 14.0 * out) * chamber, 4.0 + 96.0 * chamber * (1.0 - out)),
                 (-6.0, 6.0 * chamber)]  # fmt: skip
    pose.lean = -26.0 * out * chamber
    first.reach(0, first.point("neck", 0.16, -0.06))
    first.reach(1, first.point("neck", 0.2, 0.0))
    other.x -= other.facing * 0.06 * hit
    other.lean = 36.0 * hit
    other.legs = [(22.0 * hit, 26.0 * hit), (10.0 * hit - 6.0, 26.0 * hit)]
    second.reach(0, second.point("pelvis", 0.14 + 0.02 * hit, 0.14))
    second.reach(1, second.point("pelvis", 0.16, 0.1))


def dance_together(stage: Stage, who: int, u: float) -> None:
    """Side by side with joined, raised hands, swaying and kicking in step."""
    style = stage.style
    first, second = _pair(stage, who)
    for index, person in enumerate((first, second)):
        person.pose.facing = 1
        dance(stage, who if index == 0 else 1 - who, u)
    left, right = sorted((first, second), key=lambda person: person.pose.x)
    beat = style.cycles(u, 0.7)
    x, y = _middle(left, right, 0.0)
    y = (left.joints().head[1] + right.joints().head[1]) / 2.0 + 0.06 + 0.05 * sine(2.0 * beat)
    left.reach(0, (x, y))
    right.reach(1, (x, y))
    left.pose.arms[1] = (100.0 + 36.0 * sine(beat), 20.0)
    right.pose.arms[0] = (100.0 - 36.0 * sine(beat), 20.0)
    if style.choice[4] < 0.5:
        spin = style.cycles(u, 0.35) % 1.0
        if 0.45 < spin < 0.75:
            second.pose.front = False
            second.pose.facing = 1 if math.cos(20.0 * spin) > 0 else -1
            second.reach(0, (x, y))
