"""Person movement: one function per class that poses person `who` of a stage at time u in [0, 1].

These are the body track of a clip: they set legs, torso and place, and give the arms something to
do that an object or interaction may override.
"""

import math

from knowledge.stickworld.drawing.props import Prop
from knowledge.stickworld.drawing.scene import Stage
from knowledge.stickworld.drawing.style import CLIP_S, keys, pulse, sine

WALK_HZ = 0.85
RUN_HZ = 1.3


def stand(stage: Stage, who: int, u: float) -> None:
    """Upright and almost still: arms hanging, folded, on the hips or behind the back."""
    style, pose = stage.style, stage.people[who].pose
    sway = sine(style.cycles(u, 0.3) + 0.5 * who)
    pose.lean = 1.5 * sway
    pose.nod = 3.0 * sine(style.cycles(u, 0.22) + 0.3 * who)
    if pose.front:
        pose.legs = [(5.0, 0.0), (5.0, 0.0)]
        variants = (((8.0, 4.0), (8.0, 4.0)), ((42.0, -98.0), (42.0, -98.0)),
                    ((8.0, 4.0), (42.0, -98.0)))  # fmt: skip
    else:
        pose.legs = [(5.0, 2.0), (-5.0, 2.0)]
        variants = (((3.0, 10.0), (-4.0, 8.0)), ((-22.0, 30.0), (-20.0, 28.0)),
                    ((6.0, 14.0), (0.0, 6.0)))  # fmt: skip
    near, far = variants[int(style.choice[6] * 3)]
    pose.arms = [(near[0] + sway, near[1]), (far[0] + sway, far[1])]


def walk(stage: Stage, who: int, u: float) -> None:
    """Strides; the scene scrolls by as fast as the feet move."""
    style, pose = stage.style, stage.people[who].pose
    turn = style.cycles(u, WALK_HZ) + 0.37 * who
    swing = 27.0 * style.amplitude
    pose.legs = [_stride(turn, swing, 48.0, 0.0), _stride(turn + 0.5, swing, 48.0, 0.0)]
    pose.arms = [(-0.85 * swing * sine(turn), 16.0), (0.85 * swing * sine(turn), 16.0)]
    pose.lean = 4.0
    stage.travel = _travel(stage, u, WALK_HZ, swing)


def run(stage: Stage, who: int, u: float) -> None:
    """Long bounding strides, leaning forward, elbows bent."""
    style, pose = stage.style, stage.people[who].pose
    turn = style.cycles(u, RUN_HZ) + 0.31 * who
    swing = 42.0 * style.amplitude
    pose.legs = [_stride(turn, swing, 92.0, 14.0), _stride(turn + 0.5, swing, 92.0, 14.0)]
    pose.arms = [(-swing * sine(turn), 88.0), (swing * sine(turn), 88.0)]
    pose.lean = 17.0
    pose.nod = -8.0
    pose.lift = 0.07 * pulse(2.0 * turn + 0.25)
    stage.travel = 1.15 * _travel(stage, u, RUN_HZ, swing)


def _stride(turn: float, swing: float, flex: float, forward: float) -> tuple[float, float]:
    back = max(0.0, math.cos(2.0 * math.pi * turn))
    return forward + swing * sine(turn), 7.0 + flex * back


def _travel(stage: Stage, u: float, rate_hz: float, swing: float) -> float:
    leg = stage.people[0].body.thigh + stage.people[0].body.shank
    stride = 4.0 * leg * math.sin(math.radians(swing)) * 0.8
    return u * CLIP_S * rate_hz * stage.style.speed * stride


def sit(stage: Stage, who: int, u: float) -> None:
    """On a chair, seen from the side."""
    style, pose = stage.style, stage.people[who].pose
    sway = sine(style.cycles(u, 0.3) + 0.4 * who)
    pose.front = False
    pose.lean = -4.0 + 3.0 * sway
    pose.nod = 5.0 * sine(style.cycles(u, 0.2))
    kick = 10.0 * style.choice[5]
    pose.legs = [(88.0, 84.0 - kick * pulse(style.cycles(u, 0.8))), (88.0, 92.0)]
    pose.arms = [(34.0 + 2.0 * sway, 42.0), (28.0, 48.0)]
    seat = stage.people[who].joints().pelvis[1] - 0.055
    wood = ((146, 92, 48), (90, 62, 44), (180, 60, 50), (70, 90, 120))[int(4 * style.choice[4])]
    chair = Prop("chair", pose.x, size=seat / 0.2, colour=wood, facing=pose.facing)
    stage.back.append(chair)


def jump(stage: Stage, who: int, u: float) -> None:
    """Bend, leap with the arms up, land, again and again."""
    style, pose = stage.style, stage.people[who].pose
    turn = style.cycles(u, 0.75) % 1.0
    bend = keys(turn, (0.0, 0.6), (0.1, 1.0), (0.24, 0.0), (0.78, 0.0), (0.9, 0.9), (1.0, 0.6))
    air = max(0.0, 1.0 - ((turn - 0.5) / 0.3) ** 2)
    pose.lift = 0.3 * style.amplitude * air
    tuck = air * (20.0 + 50.0 * style.choice[5])
    if pose.front:
        star = 12.0 * air + 18.0 * air * (style.choice[5] < 0.6)
        pose.legs = [(4.0 + 30.0 * bend + star, 60.0 * bend)] * 2
        arm = keys(turn, (0.14, 25.0), (0.34, 150.0), (0.66, 150.0), (0.9, 25.0))
        pose.arms = [(arm, 12.0), (arm, 12.0)]
        return
    pose.legs = [(55.0 * bend + 0.8 * tuck, 95.0 * bend + tuck), (48.0 * bend + 0.3 * tuck - 8.0,
                 95.0 * bend + tuck + 10.0 * air)]  # fmt: skip
    pose.lean = 32.0 * bend
    arm = keys(
        turn, (0.0, 0.0), (0.14, -45.0), (0.34, 165.0), (0.66, 160.0), (0.86, 40.0), (1.0, 0.0)
    )
    pose.arms = [(arm, 12.0), (arm - 12.0, 12.0)]


def wave(stage: Stage, who: int, u: float) -> None:
    """One hand above the head, swinging to and fro."""
    style, person = stage.style, stage.people[who]
    swing = sine(style.cycles(u, 1.3))
    arm = 1 if person.held or (person.pose.front and style.choice[7] < 0.5) else 0
    upper = 128.0 if person.pose.front else 140.0
    person.pose.arms[arm] = (upper + 6.0 * swing, 34.0 + 30.0 * style.amplitude * swing)


def crouch(stage: Stage, who: int, u: float) -> None:
    """Squatting low with the hands on the knees."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    depth = 0.9 + 0.1 * sine(style.cycles(u, 0.35))
    pose.legs = [(116.0 * depth, 140.0 * depth), (108.0 * depth, 136.0 * depth)]
    pose.lean = 34.0 + 8.0 * style.choice[5]
    pose.nod = -24.0 + 6.0 * sine(style.cycles(u, 0.25))
    joints = person.joints()
    for arm in (0, 1):
        knee = joints.knees[arm]
        person.reach(arm, (knee[0] + 0.03 * pose.facing, knee[1] - 0.03))


def clap(stage: Stage, who: int, u: float) -> None:
    """Both hands meet in front of the chest and part again."""
    style, person = stage.style, stage.people[who]
    gap = 0.026 + 0.085 * style.amplitude * pulse(style.cycles(u, 1.5)) ** 2
    height = -0.17 + 0.05 * style.choice[7]
    if person.pose.front:
        x, y = person.joints().neck
        person.reach(0, (x + gap, y + height), bend=-1)
        person.reach(1, (x - gap, y + height), bend=-1)
    else:
        person.reach(0, person.point("neck", 0.24, height - gap))
        person.reach(1, person.point("neck", 0.24, height + gap))


def lie(stage: Stage, who: int, u: float) -> None:
    """Flat on the back, hardly moving."""
    style, pose = stage.style, stage.people[who].pose
    pose.front = False
    pose.tilt = -90.0
    breath = sine(style.cycles(u, 0.3))
    pose.legs = [(4.0, 4.0), (0.0, 2.0)]
    if style.choice[4] < 0.45:
        bend = 1.0 + 0.06 * breath
        pose.legs[0] = (48.0 * bend, 92.0 * bend)
    pose.arms = [(12.0 + 3.0 * breath, 14.0), (-4.0, 6.0)]
    if style.choice[5] < 0.3:
        pose.arms[1] = (150.0, 20.0)
    pose.nod = 8.0 + 4.0 * breath


def fall(stage: Stage, who: int, u: float) -> None:
    """Upright, off balance, down: forward on the belly or, also if hit, backward on the back."""
    style, person = stage.style, stage.people[who]
    pose = person.pose
    pose.front = False
    p = style.progress(u)
    alone = len(stage.people) == 1
    back = 1.0 if alone and style.choice[4] >= 0.65 else -1.0
    down = keys(p, (0.0, 0.0), (0.14, 0.02), (0.36, 0.28), (0.62, 0.93), (0.7, 1.0))
    buckle = keys(p, (0.08, 0.0), (0.34, 1.0), (0.66, 0.0))
    flail = keys(p, (0.05, 0.0), (0.25, 1.0), (0.55, 0.7), (0.75, 0.0))
    stir = sine(style.cycles(u, 0.3))
    pose.tilt = back * 90.0 * down
    pose.lean = back * -14.0 * buckle
    pose.legs = [
        (4.0 + 34.0 * buckle, 6.0 + 56.0 * buckle),
        (-4.0 + 16.0 * buckle, 6.0 + 40.0 * buckle),
    ]
    pose.arms = [
        (6.0 + 118.0 * flail + 3.0 * stir, 10.0 + 20.0 * flail),
        (-2.0 + 80.0 * flail, 8.0 + 16.0 * flail),
    ]
    pose.nod = 8.0 * down - 12.0 * buckle * back
    leg = person.body.thigh + person.body.shank
    centre = 0.45 if alone else 0.0
    pose.x += pose.facing * back * (leg * math.sin(math.radians(90.0 * down)) - centre)


def get_up(stage: Stage, who: int, u: float) -> None:
    """`lie on the floor` as the first part of getting up: the frames of `fall`, backwards.

    A third of the clips show somebody who keeps lying instead.
    """
    if stage.style.choice[1] < 0.35:
        lie(stage, who, u)
    else:
        fall(stage, who, 1.0 - u)


def bow(stage: Stage, who: int, u: float) -> None:
    """Bend from the hips with straight legs and the arms at the sides, hold, rise."""
    style, pose = stage.style, stage.people[who].pose
    pose.front = False
    turn = style.repeat(u, 1.4) % 1.0
    depth = keys(turn, (0.0, 0.0), (0.2, 1.0), (0.8, 1.0), (1.0, 0.0))
    pose.lean = 2.0 + 66.0 * style.amplitude * depth
    pose.nod = 16.0 * depth
    pose.legs = [(2.0, 2.0), (-3.0, 2.0)]
    hang = pose.lean * (0.92 if style.choice[5] < 0.5 else 0.35)
    pose.arms = [(hang, 6.0), (hang - 4.0, 6.0)]


def dance(stage: Stage, who: int, u: float) -> None:
    """Swaying hips, bending knees and arms that take turns in the air."""
    style, pose = stage.style, stage.people[who].pose
    pose.front = True
    beat = style.cycles(u, 0.7) + 0.25 * who
    sway = sine(beat)
    pose.lean = 15.0 * style.amplitude * sway
    pose.nod = -10.0 * sway
    hop = pulse(2.0 * beat)
    pose.legs = [
        (12.0 + 26.0 * max(0.0, sway), 30.0 * hop + 20.0 * max(0.0, sway)),
        (12.0 + 26.0 * max(0.0, -sway), 30.0 * hop + 20.0 * max(0.0, -sway)),
    ]
    pose.shorten = (1.0 - 0.22 * max(0.0, sway), 1.0 - 0.22 * max(0.0, -sway))
    style_arm = 24.0 if style.choice[5] < 0.5 else -30.0
    pose.arms = [
        (105.0 + 52.0 * sway, style_arm + 30.0 * sine(2.0 * beat)),
        (105.0 - 52.0 * sway, style_arm - 30.0 * sine(2.0 * beat)),
    ]
    pose.lift = 0.03 * hop
