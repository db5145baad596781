"""The 36 classes of stickworld and the pairs that were built to be confused.

The order is part of the dataset: base / novel splits take the first 75 % or 50 % of each group.
"""

from typing import Literal, NamedTuple

Group = Literal["person_movement", "object_manipulation", "person_interaction"]
Reason = Literal["time", "posture"]


class StickworldClass(NamedTuple):
    """One class: id (1-based), name as annotators would say it, group."""

    class_id: int
    name: str
    group: Group


class ConfusablePair(NamedTuple):
    """Two class names and why stills confuse them.

    `reason` is "time" if the two differ only in the order of (nearly) the same frames, "posture" if
    bodies take the same posture and only a small detail tells them apart.
    """

    first: str
    second: str
    reason: Reason


CLASSES: tuple[StickworldClass, ...] = (
    StickworldClass(1, "stand", "person_movement"),
    StickworldClass(2, "walk", "person_movement"),
    StickworldClass(3, "run", "person_movement"),
    StickworldClass(4, "sit", "person_movement"),
    StickworldClass(5, "jump", "person_movement"),
    StickworldClass(6, "wave", "person_movement"),
    StickworldClass(7, "crouch", "person_movement"),
    StickworldClass(8, "clap", "person_movement"),
    StickworldClass(9, "lie on the floor", "person_movement"),
    StickworldClass(10, "bow", "person_movement"),
    StickworldClass(11, "fall down", "person_movement"),
    StickworldClass(12, "dance", "person_movement"),
    StickworldClass(13, "kick a ball", "object_manipulation"),
    StickworldClass(14, "throw a ball", "object_manipulation"),
    StickworldClass(15, "carry a box", "object_manipulation"),
    StickworldClass(16, "lift a box", "object_manipulation"),
    StickworldClass(17, "talk on the phone", "object_manipulation"),
    StickworldClass(18, "drink from a cup", "object_manipulation"),
    StickworldClass(19, "open a door", "object_manipulation"),
    StickworldClass(20, "push a cart", "object_manipulation"),
    StickworldClass(21, "ride a bicycle", "object_manipulation"),
    StickworldClass(22, "catch a ball", "object_manipulation"),
    StickworldClass(23, "put down a box", "object_manipulation"),
    StickworldClass(24, "close a door", "object_manipulation"),
    StickworldClass(25, "talk to a person", "person_interaction"),
    StickworldClass(26, "shake hands", "person_interaction"),
    StickworldClass(27, "hug a person", "person_interaction"),
    StickworldClass(28, "push a person", "person_interaction"),
    StickworldClass(29, "give an object to a person", "person_interaction"),
    StickworldClass(30, "punch a person", "person_interaction"),
    StickworldClass(31, "high-five", "person_interaction"),
    StickworldClass(32, "chase a person", "person_interaction"),
    StickworldClass(33, "walk arm in arm", "person_interaction"),
    StickworldClass(34, "kick a person", "person_interaction"),
    StickworldClass(35, "take an object from a person", "person_interaction"),
    StickworldClass(36, "dance with a person", "person_interaction"),
)

CONFUSABLE_PAIRS: tuple[ConfusablePair, ...] = (
    ConfusablePair("lift a box", "put down a box", "time"),
    ConfusablePair("open a door", "close a door", "time"),
    ConfusablePair("throw a ball", "catch a ball", "time"),
    ConfusablePair("give an object to a person", "take an object from a person", "time"),
    ConfusablePair("fall down", "lie on the floor", "time"),
    ConfusablePair("talk on the phone", "drink from a cup", "posture"),
    ConfusablePair("punch a person", "high-five", "posture"),
)
"""A class occurs in at most one pair, so its partner is unique."""

CLASS_NAMES: tuple[str, ...] = tuple(entry.name for entry in CLASSES)


def pairs_by_reason() -> dict[str, list[tuple[int, int]]]:
    """Class ids of `CONFUSABLE_PAIRS`, as `time_pairs` and `posture_pairs`."""
    ids = {entry.name: entry.class_id for entry in CLASSES}
    return {
        f"{reason}_pairs": [
            (ids[pair.first], ids[pair.second])
            for pair in CONFUSABLE_PAIRS
            if pair.reason == reason
        ]
        for reason in ("time", "posture")
    }
