"""What the stills of stickworld are called when `stickworld-clip` is pretrained.

Short captions are templates around the class name and paraphrases; long ones are the recorded
descriptions and phases that come with the package, whole and by sentence.
"""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import NamedTuple

from knowledge.clip.tokens import MAX_TOKENS, clip_tokens
from knowledge.embedding.config import PROMPT

RECORDED = Path(__file__).parents[1] / "replies" / "stickworld_texts.jsonl.gz"

TEMPLATES: tuple[str, ...] = (
    PROMPT,
    "{label}",
    "a photo of {label}",
    "a photo of {label}.",
    "a video of {label}",
    "a still of a person: {label}",
    "the action is {label}",
    "a photo of action {label}",
    "a picture of action {label}",
    "Human action of {label}",
    "{label}, an action",
    "{label} this is an action",
    "{label}, a video of action",
    "Playing action of {label}",
    "Playing a kind of action, {label}",
    "Doing a kind of action, {label}",
    "Look, the human is {label}",
    "Can you recognize the action of {label}?",
    "Video classification of {label}",
    "A video of {label}",
    "The man is {label}",
    "The woman is {label}",
)
"""`PROMPT` of `class_texts` first; those from "a photo of action" on are ActionCLIP's."""

PARAPHRASES: dict[str, tuple[str, ...]] = {
    "stand": (
        "a person standing upright",
        "someone stands still with the arms down",
        "a figure waits on the spot",
        "standing",
    ),
    "walk": (
        "a person walking",
        "someone takes a step",
        "a figure strolls along with an upright body",
        "walking",
    ),
    "run": (
        "a person running",
        "someone sprints with bent elbows",
        "a jogger leans forward in a long stride",
        "running",
    ),
    "sit": (
        "a person sitting on a chair",
        "someone is seated",
        "a figure with bent knees on a seat",
        "sitting down",
    ),
    "jump": (
        "a person jumping",
        "someone leaps into the air",
        "both feet are off the ground in a hop",
        "jumping up",
    ),
    "wave": (
        "a person waving a hand",
        "someone greets with one raised arm",
        "a figure says hello with a hand beside the head",
        "waving",
    ),
    "crouch": (
        "a person crouching",
        "someone squats low above the ground",
        "a figure with deeply bent knees",
        "crouching down",
    ),
    "clap": (
        "a person clapping hands",
        "someone applauds with both hands in front of the chest",
        "hands meet in applause",
        "clapping",
    ),
    "lie on the floor": (
        "a person lying on the floor",
        "someone is stretched out on the ground",
        "a figure lies flat",
        "lying down",
    ),
    "bow": (
        "a person bowing",
        "someone bends forward from the hips",
        "a polite bow with straight legs",
        "bowing",
    ),
    "fall down": (
        "a person falling down",
        "someone tips over and hits the ground",
        "a figure loses balance",
        "falling to the floor",
    ),
    "dance": (
        "a person dancing",
        "someone dances alone with swinging arms",
        "a dancer sways the hips",
        "dancing",
    ),
    "kick a ball": (
        "a person kicking a ball",
        "someone shoots a football with the foot",
        "a ball leaves the foot of a player",
        "kicking a ball",
    ),
    "throw a ball": (
        "a person throwing a ball",
        "someone hurls a ball with the hand",
        "a ball flies away from the hand",
        "throwing a ball",
    ),
    "carry a box": (
        "a person carrying a box",
        "someone walks with a box in both arms",
        "a parcel is held in front of the belly",
        "carrying a box",
    ),
    "lift a box": (
        "a person lifting a box",
        "someone picks up a box from the floor",
        "a parcel is raised with both hands",
        "lifting a box",
    ),
    "talk on the phone": (
        "a person talking on the phone",
        "someone holds a phone to the ear",
        "a caller with a mobile phone",
        "making a phone call",
    ),
    "drink from a cup": (
        "a person drinking from a cup",
        "someone holds a cup to the mouth",
        "a drinker tips a mug",
        "drinking",
    ),
    "open a door": (
        "a person opening a door",
        "someone pulls a door by the handle",
        "a door swings open",
        "opening a door",
    ),
    "push a cart": (
        "a person pushing a cart",
        "someone rolls a trolley ahead",
        "hands on the handle of a cart with wheels",
        "pushing a trolley",
    ),
    "ride a bicycle": (
        "a person riding a bicycle",
        "someone cycles on a bike with two wheels",
        "a cyclist in the saddle",
        "cycling",
    ),
    "catch a ball": (
        "a person catching a ball",
        "someone receives a ball with the hands",
        "a ball flies towards the hands",
        "catching a ball",
    ),
    "put down a box": (
        "a person putting down a box",
        "someone sets a box on the floor",
        "a parcel is lowered with both hands",
        "putting down a box",
    ),
    "close a door": (
        "a person closing a door",
        "someone shuts a door by the handle",
        "a door swings shut",
        "closing a door",
    ),
    "talk to a person": (
        "two people talking",
        "someone chats with another person",
        "a conversation face to face with gestures",
        "talking to somebody",
    ),
    "shake hands": (
        "two people shaking hands",
        "a handshake at the height of the waist",
        "two people greet with joined hands",
        "shaking hands",
    ),
    "hug a person": (
        "two people hugging",
        "someone embraces another person",
        "an embrace chest to chest",
        "hugging somebody",
    ),
    "push a person": (
        "a person pushing another person",
        "someone shoves somebody away with both hands",
        "a shove makes a person stagger back",
        "pushing somebody",
    ),
    "give an object to a person": (
        "a person giving something to another person",
        "someone hands over an object",
        "a gift is passed to a partner",
        "giving an object",
    ),
    "punch a person": (
        "a person punching another person",
        "someone hits somebody with the fist",
        "a fist strikes a person",
        "punching somebody",
    ),
    "high-five": (
        "two people giving a high five",
        "two raised palms slap each other",
        "a high-five above the heads",
        "high five",
    ),
    "chase a person": (
        "a person chasing another person",
        "someone runs after somebody",
        "two runners, one behind the other",
        "chasing somebody",
    ),
    "walk arm in arm": (
        "two people walking arm in arm",
        "a couple strolls with linked elbows",
        "two people walk side by side",
        "walking arm in arm",
    ),
    "kick a person": (
        "a person kicking another person",
        "someone hits somebody with the foot",
        "a raised leg strikes a person",
        "kicking somebody",
    ),
    "take an object from a person": (
        "a person taking something from another person",
        "someone receives an object",
        "a thing is grabbed from the hand of a partner",
        "taking an object",
    ),
    "dance with a person": (
        "two people dancing together",
        "a couple dances hand in hand",
        "two dancers sway together",
        "dancing with somebody",
    ),
}
"""Written for this model from the class names alone."""


class Captions(NamedTuple):
    """All captions of one class."""

    short: tuple[str, ...]
    """Templates, the first being `PROMPT`, then paraphrases."""
    long: tuple[str, ...]
    """Whole description, its sentences, and the phases."""


def captions(names: tuple[str, ...]) -> list[Captions]:
    """Captions per class, in the order of `names`; those longer than CLIP's context are left out.

    Raises:
        ValueError: the paraphrases or recorded texts do not cover the names.
    """
    with gzip.open(RECORDED, "rt", encoding="utf-8") as file:
        recorded = {reply["class"]: reply for reply in map(json.loads, file)}
    if missing := [name for name in names if name not in recorded or name not in PARAPHRASES]:
        raise ValueError(f"no caption for {missing}; add them to PARAPHRASES and {RECORDED.name}")
    return [_captions_of(name, recorded[name]) for name in names]


def _captions_of(name: str, reply: dict[str, object]) -> Captions:
    description, phases = reply["description"], reply["phases"]
    if not isinstance(description, str) or not isinstance(phases, list):
        raise TypeError(f"{RECORDED.name}: {name!r} lacks a description or phases")
    sentences = re.split(r"(?<=[.!?])\s+", description)
    long = [description, *sentences, *(phase["text"] for phase in phases)]
    short = [template.replace("{label}", name) for template in TEMPLATES]
    return Captions(_that_fit([*short, *PARAPHRASES[name]]), _that_fit(long))


def _that_fit(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if clip_tokens(text) <= MAX_TOKENS))
