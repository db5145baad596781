"""Which clips exist, and what is true of them.

Single-label clips show one class. An object or an interaction needs a body, which stands (or walks,
with a box or a cart) and is not labelled; nobody else does anything.

Multi-label clips come from the table of scenes below. It was written from everyday sense alone, by
going through postures (stand, sit, walk, run, crouch, lie), asking what hands do in each of them
(phone, cup, wave, applause, box), and then what two people do with each other in them; frequent
combinations got a higher weight. No language model's opinion about the classes was looked at, so
that such opinions can be tested against this world.

Rules of truth: a clip's labels are exactly the actions in its parts. Somebody who stays on his feet
on the spot throughout, doing nothing but what is labelled, is labelled "stand"; steps, lunges and
kicks that belong to an action (throw, lift, open, push, punch, ...) are neither "stand" nor "walk".
"""

from collections.abc import Iterator
from typing import NamedTuple

from knowledge.stickworld.classes import CLASS_NAMES, CLASSES
from knowledge.stickworld.drawing.render import ClipPlan, Part
from knowledge.stickworld.drawing.style import generator


class Scene(NamedTuple):
    """One way of combining actions."""

    parts: tuple[Part, ...]
    weight: float = 1.0
    gap: float | None = None
    follows: bool = False
    shift: float = 0.0


def _one(*names: str, weight: float = 1.0) -> Scene:
    """One person does everything at the same time."""
    return Scene(tuple(Part(name) for name in names), weight)


def _then(first: str, second: str, weight: float = 1.0, body: str | None = None) -> Scene:
    """One person does one thing after the other; `second` goes on from where `first` ends."""
    parts = [Part(first, end=0.5, cut=True), Part(second, start=0.5, cut=True)]
    if body is not None:
        parts.append(Part(body, start=0.5, cut=True))
    return Scene(tuple(parts), weight)


def _two(
    pair: tuple[str, ...],
    first: tuple[str, ...],
    second: tuple[str, ...],
    weight: float = 1.0,
    gap: float | None = None,
    follows: bool = False,
) -> Scene:
    """Two people with a body (and hands) each, who interact in one way after the other."""
    parts = [Part(name) for name in first] + [Part(name, who=1) for name in second]
    step = 1.0 / max(1, len(pair))
    parts += [Part(name, 0, i * step, (i + 1) * step) for i, name in enumerate(pair)]
    return Scene(tuple(parts), weight, gap, follows)


_STAND, _SIT, _WALK = ("stand",), ("sit",), ("walk",)
_ALONE = (
    "stand", "walk", "run", "sit", "jump", "crouch", "lie on the floor", "bow", "fall down",
    "dance", "kick a ball", "throw a ball", "catch a ball", "lift a box", "put down a box",
    "open a door", "close a door", "ride a bicycle",
)  # fmt: skip

_ONE_PERSON: tuple[Scene, ...] = (
    *(_one(name, weight=0.4) for name in _ALONE),
    _one("stand", "wave"),
    _one("stand", "clap"),
    _one("stand", "talk on the phone", weight=1.5),
    _one("stand", "drink from a cup", weight=1.5),
    _one("stand", "talk on the phone", "wave", weight=0.5),
    _one("walk", "talk on the phone", weight=1.5),
    _one("walk", "drink from a cup"),
    _one("walk", "wave"),
    _one("walk", "carry a box", weight=2.0),
    _one("walk", "push a cart", weight=2.0),
    _one("walk", "push a cart", "talk on the phone", weight=0.7),
    _one("walk", "talk on the phone", "wave", weight=0.7),
    _one("run", "carry a box", weight=0.6),
    _one("run", "wave", weight=0.5),
    _one("run", "talk on the phone", weight=0.4),
    _one("sit", "talk on the phone", weight=1.5),
    _one("sit", "drink from a cup", weight=1.5),
    _one("sit", "clap"),
    _one("sit", "wave", weight=0.7),
    _one("sit", "talk on the phone", "wave", weight=0.5),
    _one("crouch", "talk on the phone"),
    _one("crouch", "drink from a cup", weight=0.8),
    _one("lie on the floor", "talk on the phone", weight=1.5),
    _one("jump", "wave"),
    _one("jump", "clap"),
    _one("dance", "clap"),
    _one("dance", "wave", weight=0.5),
    _one("ride a bicycle", "talk on the phone", weight=0.6),
    _one("ride a bicycle", "wave"),
    _then("lift a box", "put down a box"),
    _then("lift a box", "carry a box", weight=1.5, body="walk"),
    _then("open a door", "close a door", weight=1.2),
    _then("catch a ball", "throw a ball", weight=1.2),
    _then("bow", "clap", weight=0.6),
)

_TALK = ("talk to a person",)
_TWO_PEOPLE: tuple[Scene, ...] = (
    _two(_TALK, _STAND, _STAND, 1.5),
    _two(_TALK, _SIT, _SIT, 1.5, gap=0.8),
    _two(_TALK, _SIT, _STAND, gap=0.72),
    _two(_TALK, _WALK, _WALK, 1.5, follows=True),
    _two(_TALK, ("stand", "drink from a cup"), _STAND),
    _two(_TALK, ("sit", "drink from a cup"), _SIT, 1.2, gap=0.8),
    _two(_TALK, ("sit", "drink from a cup"), _STAND, 0.8, gap=0.72),
    _two(_TALK, ("walk", "drink from a cup"), _WALK, 0.6, follows=True),
    _two(_TALK, ("walk", "carry a box"), _WALK, follows=True, gap=0.72),
    _two(("shake hands",), _STAND, _STAND),
    _two(("shake hands", "talk to a person"), _STAND, _STAND, 1.2, gap=0.54),
    _two(("hug a person",), _STAND, _STAND),
    _two(("hug a person", "talk to a person"), _STAND, _STAND, gap=0.56),
    _two(("shake hands", "hug a person"), _STAND, _STAND, 0.6, gap=0.5),
    _two(("high-five",), _STAND, _STAND),
    _two(("talk to a person", "high-five"), _STAND, _STAND, gap=0.54),
    _two(("give an object to a person",), (), _STAND, 0.8),
    _two(("give an object to a person",), (), _SIT, 0.8, gap=0.84),
    Scene((Part("stand", 1), Part("talk to a person"), Part("give an object to a person")), 1.2),
    _two(("take an object from a person",), (), _STAND, 0.8),
    _two(("take an object from a person",), (), _SIT, 0.8, gap=0.84),
    Scene((Part("stand", 1), Part("talk to a person"), Part("take an object from a person")), 1.2),
    _two(("chase a person",), ("run",), ("run",), 2.0, follows=True),
    _two(("walk arm in arm",), _WALK, _WALK, 1.5),
    Scene((Part("talk to a person"), Part("walk"), Part("walk", who=1), Part("walk arm in arm")),
          0.8, gap=0.36),
    _two(("dance with a person",), ("dance",), ("dance",), 2.0),
    _two(("push a person",), (), (), 0.7),
    _two(("punch a person",), (), (), 0.6),
    _two(("kick a person",), (), (), 0.6),
    _two(("punch a person", "kick a person"), (), (), gap=0.54),
    _two(("push a person", "punch a person"), (), (), 0.8),
    Scene((Part("push a person", end=0.55), Part("fall down", 1, start=0.25)), 1.2, shift=-0.4),
    Scene((Part("punch a person", end=0.55), Part("fall down", 1, start=0.3)), 1.0, shift=-0.4),
    Scene((Part("dance"), Part("stand", who=1), Part("clap", who=1)), 0.8, gap=0.8),
    Scene((Part("kick a ball"), Part("stand", who=1)), 1.2, gap=-0.5, follows=True, shift=-0.35),
)  # fmt: skip

SCENES: tuple[Scene, ...] = _ONE_PERSON + _TWO_PEOPLE


def single_plan(name: str, split: str, index: int) -> ClipPlan:
    """The `index`-th clip of one class in a split."""
    video_id = f"{split}_{name.replace(' ', '_').replace('-', '_')}_{index:04d}"
    return ClipPlan(video_id, split, (name,), (Part(name),))


def multi_plan(split: str, index: int, seed: int) -> ClipPlan:
    """The `index`-th multi-label clip of a split; its scene is drawn for (seed, video_id)."""
    video_id = f"{split}_multi_{index:05d}"
    weights = [scene.weight for scene in SCENES]
    total = sum(weights)
    rng = generator("scene", seed, video_id)
    scene = SCENES[int(rng.choice(len(SCENES), p=[weight / total for weight in weights]))]
    return ClipPlan(
        video_id, split, labels_of(scene), scene.parts, scene.gap, scene.shift, scene.follows
    )


def labels_of(scene: Scene) -> tuple[str, ...]:
    """Class names of a scene's parts in order of id."""
    return tuple(sorted({part.name for part in scene.parts}, key=CLASS_NAMES.index))


def single_plans(clips_per_class: dict[str, int]) -> Iterator[ClipPlan]:
    """All single-label clips; `clips_per_class` maps a split to clips per class."""
    for split, count in clips_per_class.items():
        for entry in CLASSES:
            for index in range(count):
                yield single_plan(entry.name, split, index)


def multi_plans(clips: dict[str, int], seed: int) -> Iterator[ClipPlan]:
    """All multi-label clips; `clips` maps a split to its number of clips."""
    for split, count in clips.items():
        for index in range(count):
            yield multi_plan(split, index, seed)
