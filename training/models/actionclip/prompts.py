"""Sentences that class names are put into, and the families ActionCLIP divides them into.

Source: the 16 templates of ActionCLIP's code. Its paper names three families by where the given
words stand without listing their members, so the division is ours: `prefix`, words before the name
that say somebody does it ("somebody is X"); `suffix`, words after the name; `cloze`, the name fills
the gap of a phrase about a picture or video ("this is a video about X"). The name alone is in none.
"""

from __future__ import annotations

from typing import Literal

Family = Literal["all", "prefix", "cloze", "suffix", "none"]

LABEL = "{label}"

FAMILIES: dict[Family, tuple[str, ...]] = {
    "prefix": (
        "Human action of {label}",
        "Playing action of {label}",
        "Playing a kind of action, {label}",
        "Doing a kind of action, {label}",
        "Look, the human is {label}",
        "The man is {label}",
        "The woman is {label}",
    ),
    "cloze": (
        "a photo of action {label}",
        "a picture of action {label}",
        "Can you recognize the action of {label}?",
        "Video classification of {label}",
        "A video of {label}",
    ),
    "suffix": (
        "{label}, an action",
        "{label} this is an action",
        "{label}, a video of action",
    ),
    "none": ("{label}",),
}
"""The 16 templates, each in one family; `none` is the class name alone."""

TEMPLATES: tuple[str, ...] = tuple(each for family in FAMILIES.values() for each in family)
"""All of them; a `text_embeddings` artifact of templates holds every one."""


def family_templates(family: Family) -> tuple[str, ...]:
    """Templates of a family, in the order of `TEMPLATES`."""
    return TEMPLATES if family == "all" else FAMILIES[family]


def fill(template: str, prompt_name: str) -> str:
    """The template about a class; the name is taken as it is, whatever characters it holds."""
    return template.replace(LABEL, prompt_name)
