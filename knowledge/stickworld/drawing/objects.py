"""Object manipulation: one function per class; see `movement` for how they are called.

Arms are placed relative to the neck or the head, so that an object can be handled while the body
track walks, sits or lies.
"""

import math

from knowledge.stickworld.drawing.canvas import Colour, Point, between, rotate
from knowledge.stickworld.drawing.figure import Person
from knowledge.stickworld.drawing.props import Prop, door_edge
from knowledge.stickworld.drawing.scene import Stage
from knowledge.stickworld.drawing.style import CLIP_S, keys, pulse, sine

CARDBOARD: tuple[Colour, ...] = ((198, 148, 86), (170, 118, 66), (214, 172, 112), (150, 110, 80))


def kick_ball(stage: Stage, who: int, u: float) -> None:
    """One leg swings through a ball, which flies off and rolls out."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    p = style.progress(u)
    swing = keys(p, (0.0, -8.0), (0.26, -48.0), (0.42, 52.0), (0.58, 62.0), (0.9, 2.0))
    flex = keys(p, (0.0, 6.0), (0.26, 78.0), (0.42, 6.0), (0.58, 4.0), (0.9, 4.0))
    active = keys(p, (0.0, 0.0), (0.2, 1.0), (0.6, 1.0), (0.9, 0.0))
    pose.legs = [(swing, flex), (-10.0 * active, 8.0 * active + 2.0)]
    pose.lean = 10.0 * keys(p, (0.0, 0.0), (0.26, 1.0), (0.5, -1.4), (0.9, 0.0))
    pose.arms = [(-swing * 0.7, 20.0), (swing * 0.7 + 10.0, 24.0)]
    pose.x -= 0.32 * pose.facing if len(stage.people) == 1 else 0.0
    flight = max(0.0, (p - 0.4) / 0.6)
    x = 0.3 + 0.62 * (1.0 - (1.0 - flight) ** 2)
    y = 0.07 + (0.25 + 0.35 * style.choice[4]) * max(
        0.0, math.sin(math.pi * min(1.0, 1.4 * flight))
    )
    stage.front.append(
        Prop("ball", pose.x + pose.facing * x, y, 1.1, style.colour, angle=500.0 * flight)
    )


def throw_ball(stage: Stage, who: int, u: float) -> None:
    """Draw back, fling, and the ball leaves; backwards in time it is a catch.

    Either one hand throws from behind the head or both hands push the ball from the chest.
    """
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    p = style.progress(u)
    pose.x -= 0.38 * pose.facing
    back = keys(p, (0.0, 0.35), (0.3, 1.0), (0.5, 0.0))
    after = keys(p, (0.5, 0.0), (0.68, 1.0))
    pose.lean += 9.0 - 20.0 * back + 4.0 * after
    pose.legs = [(-16.0 - 6.0 * back, 10.0 + 10.0 * back), (18.0 + 8.0 * back, 6.0)]
    released = person.point("neck", 0.33, 0.1)
    if style.choice[4] < 0.5:
        drawn = person.point("head", -0.16, 0.1)
        above = person.point("head", 0.1, 0.24)
        rest = person.point("neck", 0.26, -0.1)
        hand = between(between(rest, drawn, back), above, 4 * 0.8 * back * (1 - back) * (p > 0.3))
        if p > 0.42:
            hand = between(hand, released, keys(p, (0.42, 0.0), (0.5, 1.0)))
        person.reach(0, between(hand, person.point("neck", 0.3, -0.08), 0.8 * after))
        person.reach(1, person.point("neck", 0.22 + 0.08 * back, -0.16 + 0.14 * back))
    else:
        hand = between(released, person.point("neck", 0.13, -0.08), back)
        low = between(hand, person.point("neck", 0.3, -0.08), 0.7 * after)
        person.reach(0, (low[0], low[1] - 0.03))
        person.reach(1, (low[0], low[1] + 0.03))
    flight = max(0.0, (p - 0.5) / 0.5)
    held = (hand[0] + 0.05 * pose.facing, hand[1] + 0.04)
    arc = 0.16 * math.sin(math.pi * min(1.0, flight * 1.1))
    ball = (held[0] + pose.facing * 0.62 * flight, held[1] + arc - 0.1 * flight)
    ball_prop = Prop("ball", *ball, 1.05, style.colour, angle=400.0 * flight)
    (stage.front if flight > 0.05 else person.held).append(ball_prop)


def _hold_box(person: Person, centre: Point, colour: Colour, size: float) -> None:
    person.held.append(Prop("box", *centre, size, colour, facing=person.pose.facing))
    grip = person.pose.facing * 0.02
    person.reach(0, (centre[0] + grip, centre[1] - 0.08 * size))
    person.reach(1, (centre[0] + 2 * grip, centre[1] - 0.08 * size))


def _cardboard(stage: Stage) -> tuple[Colour, float]:
    return CARDBOARD[int(4 * stage.style.choice[3])], 0.95 + 0.25 * stage.style.choice[2]


def carry_box(stage: Stage, who: int, u: float) -> None:
    """A box in both arms in front of the body."""
    person = stage.people[who]
    person.pose.front = False
    jog = 0.008 * sine(stage.style.cycles(u, 1.7))
    person.pose.lean -= 3.0
    _hold_box(person, person.point("neck", 0.235, -0.2 + jog), *_cardboard(stage))


def lift_box(stage: Stage, who: int, u: float) -> None:
    """Bend the knees, grasp a box on the floor, rise with it; backwards it is put down."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    p = style.progress(u)
    down = keys(p, (0.0, 0.0), (0.36, 1.0), (0.46, 1.0), (0.95, 0.0))
    floor_x = pose.x + 0.3 * pose.facing
    pose.legs = [(4.0 + 78.0 * down, 2.0 + 104.0 * down), (-4.0 + 68.0 * down, 2.0 + 100.0 * down)]
    pose.lean = -2.0 + 46.0 * down
    pose.nod = 10.0 * down
    colour, size = _cardboard(stage)
    ground = (floor_x, 0.105 * size)
    carried = person.point("neck", 0.235, -0.2)
    grasped = p > 0.41
    centre = between(carried, ground, keys(p, (0.46, 1.0), (0.9, 0.0)))
    if grasped:
        _hold_box(person, centre, colour, size)
        return
    stage.back.append(Prop("box", *ground, size, colour, facing=pose.facing))
    near = keys(p, (0.05, 0.0), (0.36, 1.0))
    for arm in (0, 1):
        hang = person.point("neck", 0.06, -0.28)
        target = (ground[0] + 0.02 * pose.facing, ground[1] - 0.04 * size)
        person.reach(arm, between(hang, target, near))


def talk_phone(stage: Stage, who: int, u: float) -> None:
    """A phone at the ear, the mouth moving."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.mouth = pulse(style.cycles(u, 1.9))
    pose.nod += 3.0 + 3.0 * sine(style.cycles(u, 0.5))
    _raise(person, "phone", 0.0, style.colour)


def drink(stage: Stage, who: int, u: float) -> None:
    """A cup goes to the mouth, the head tips back, the cup sinks for a moment."""
    style, person = stage.style, stage.people[who]
    sip = keys(
        style.cycles(u, 0.4) % 1.0, (0.0, 1.0), (0.55, 1.0), (0.72, 0.0), (0.82, 0.0), (1.0, 1.0)
    )
    person.pose.nod += -14.0 * sip
    _raise(person, "cup", sip, style.colour)


def _raise(person: Person, kind: str, sip: float, colour: Colour) -> None:
    """Put a hand with a phone to the ear or with a cup to (sip = 1) or below the mouth."""
    pose = person.pose
    pose.front = False
    head = person.joints().head
    side = pose.facing
    turned = (pose.lean + pose.nod + pose.tilt) * side
    scale = person.body.head / 0.088
    if kind == "phone":
        spot = _about(head, (0.01, -0.008), side, turned, scale)
        person.reach(0, _about(head, (0.025, -0.085), side, turned, scale))
        angle = turned * side + 14.0
        person.held.append(Prop("phone", *spot, 1.25, (24, 24, 28), angle, side))
        return
    mouth = _about(head, (0.118, -0.05), side, turned, scale)
    lowered = _about(head, (0.17, -0.2), side, turned, scale)
    spot = between(lowered, mouth, sip)
    person.reach(0, (spot[0] + 0.03 * side, spot[1] - 0.02))
    person.held.append(Prop("cup", *spot, 1.1, colour, 0.3 * turned * side - 52.0 * sip, side))


def _about(centre: Point, offset: Point, side: int, turned: float, scale: float) -> Point:
    """A place on a head that is turned clockwise by `turned` degrees."""
    x, y = rotate((side * offset[0] * scale, offset[1] * scale), turned)
    return centre[0] + x, centre[1] + y


def open_door(stage: Stage, who: int, u: float) -> None:
    """Grasp the handle and swing the door wide; backwards it is closed."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    p = style.progress(u)
    opening = keys(p, (0.16, 0.0), (0.9, 1.0))
    grasp = keys(p, (0.0, 0.0), (0.14, 1.0), (0.92, 1.0), (1.0, 0.25))
    foot = pose.x + 0.06 * pose.facing
    door = Prop("door", foot, 0.0, 1.0, style.colour, facing=pose.facing, phase=opening)
    stage.back.append(door)
    edge, _ = door_edge(opening)
    handle = door.at(edge + (0.46 - edge) * 0.1, 0.56)
    pose.x += pose.facing * (-0.24 + 0.22 * opening)
    pose.lean = 3.0 + 7.0 * grasp
    step = 16.0 * math.sin(math.pi * opening)
    pose.legs = [(8.0 + step, 4.0), (-10.0 - step, 4.0 + step)]
    person.reach(0, between(person.point("neck", 0.04, -0.29), handle, grasp))
    pose.arms[1] = (-6.0, 10.0)


def push_cart(stage: Stage, who: int, u: float) -> None:
    """Lean on the bar of a shopping cart with both hands; the body track walks behind it."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    pose.x -= 0.36 * pose.facing
    pose.lean = 13.0
    pose.nod = -6.0
    cart = Prop("cart", pose.x + 0.34 * pose.facing, 0.0, 1.1, style.colour, facing=pose.facing)
    stage.front.append(cart)
    handle = cart.at(-0.04, 0.6)
    person.reach(0, handle)
    person.reach(1, (handle[0] + 0.02, handle[1]))


def ride_bicycle(stage: Stage, who: int, u: float) -> None:
    """Pedal along on a bicycle with spinning wheels."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    turn = 360.0 * style.cycles(u, 0.8)
    stage.travel = u * CLIP_S * 0.8 * style.speed * 1.1
    pose.x -= 0.08 * pose.facing
    bicycle = Prop("bicycle", pose.x, 0.0, 1.1, style.colour, facing=pose.facing, phase=turn)
    stage.back.append(bicycle)
    pose.x -= 0.055 * pose.facing
    pose.pelvis_y = 0.63
    pose.lean = 26.0
    pose.nod = -16.0
    for leg, offset in ((0, 0.0), (1, 180.0)):
        angle = math.radians(turn + offset)
        pedal = bicycle.at(0.04 + 0.08 * math.sin(angle), 0.2 + 0.08 * math.cos(angle))
        person.step(leg, (pedal[0], pedal[1] + 0.04))
    bar = bicycle.at(0.33, 0.6)
    person.reach(0, bar)
    person.reach(1, (bar[0] + 0.02, bar[1]))
