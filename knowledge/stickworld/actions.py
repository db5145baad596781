"""Every class as an action: how it moves, on which track, and how much room it needs.

Tracks are merged joint by joint. The body track ("body") poses legs, torso and place; the hand
track ("hands") then overrides arms and brings objects; the interaction track ("pair") comes last
and may move both people. An action that is the time reverse of another one shares its function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from knowledge.stickworld.drawing import interaction, movement, objects
from knowledge.stickworld.drawing.scene import Stage

Track = Literal["body", "hands", "pair"]
View = Literal["side", "front", "either"]


@dataclass(frozen=True)
class Action:
    """How one class is acted out."""

    play: Callable[[Stage, int, float], None]
    """Poses person `who` of the stage at time u in [0, 1]."""
    track: Track
    view: View = "side"
    """From where a lone person is seen."""
    body: str = "stand"
    """Body track of a single-label clip."""
    people: int = 1
    gap: float = 0.6
    """Distance between two people, in world units."""
    follows: bool = False
    """Both people face the same way, the actor behind, instead of facing each other."""
    width: float = 0.75
    """Room that the scene takes, in world units."""
    headroom: float = 0.04
    """What rises above a standing person."""
    closeness: float = 1.0
    """How much nearer the camera comes, for postures that make a person small."""
    reverse: bool = False
    """Played backwards in time."""


ACTIONS: dict[str, Action] = {
    "stand": Action(movement.stand, "body", "either"),
    "walk": Action(movement.walk, "body", width=1.0),
    "run": Action(movement.run, "body", width=1.05, headroom=0.06),
    "sit": Action(movement.sit, "body", width=0.85, headroom=-0.22, closeness=1.15),
    "jump": Action(movement.jump, "body", "either", width=0.8, headroom=0.28),
    "wave": Action(movement.wave, "hands", "front", width=0.8, headroom=0.1),
    "crouch": Action(movement.crouch, "body", width=0.8, headroom=-0.32, closeness=1.25),
    "clap": Action(movement.clap, "hands", "front"),
    "lie on the floor": Action(movement.get_up, "body", width=1.12),
    "bow": Action(movement.bow, "body", width=0.95),
    "fall down": Action(movement.fall, "body", width=1.12),
    "dance": Action(movement.dance, "body", "front", width=0.95, headroom=0.1),
    "kick a ball": Action(objects.kick_ball, "body", width=1.3),
    "throw a ball": Action(objects.throw_ball, "hands", width=1.3, headroom=0.14),
    "carry a box": Action(objects.carry_box, "hands", body="walk", width=0.95),
    "lift a box": Action(objects.lift_box, "hands", width=1.0),
    "talk on the phone": Action(objects.talk_phone, "hands"),
    "drink from a cup": Action(objects.drink, "hands"),
    "open a door": Action(objects.open_door, "hands", width=1.15, headroom=0.26),
    "push a cart": Action(objects.push_cart, "hands", body="walk", width=1.2),
    "ride a bicycle": Action(objects.ride_bicycle, "body", width=1.25, headroom=0.2),
    "catch a ball": Action(objects.throw_ball, "hands", width=1.3, headroom=0.14, reverse=True),
    "put down a box": Action(objects.lift_box, "hands", width=1.0, reverse=True),
    "close a door": Action(objects.open_door, "hands", width=1.15, headroom=0.26, reverse=True),
    "talk to a person": Action(interaction.talk, "pair", people=2, gap=0.62, width=1.2),
    "shake hands": Action(interaction.shake_hands, "pair", people=2, gap=0.5, width=1.1),
    "hug a person": Action(interaction.hug, "pair", people=2, gap=0.5, width=1.05),
    "push a person": Action(interaction.push, "pair", people=2, gap=0.5, width=1.35),
    "give an object to a person": Action(
        interaction.give, "pair", people=2, gap=0.78, width=1.35
    ),
    "punch a person": Action(
        interaction.punch, "pair", people=2, gap=0.52, width=1.2, headroom=0.1
    ),
    "high-five": Action(interaction.high_five, "pair", people=2, gap=0.52, width=1.2, headroom=0.1),
    "chase a person": Action(
        interaction.chase, "pair", people=2, gap=0.68, follows=True, width=1.4, headroom=0.06
    ),
    "walk arm in arm": Action(interaction.arm_in_arm, "pair", people=2, gap=0.36, width=0.9),
    "kick a person": Action(interaction.kick_person, "pair", people=2, gap=0.56, width=1.3),
    "take an object from a person": Action(
        interaction.give, "pair", people=2, gap=0.78, width=1.35, reverse=True
    ),
    "dance with a person": Action(
        interaction.dance_together, "pair", people=2, gap=0.56, width=1.3, headroom=0.12
    ),
}  # fmt: skip
