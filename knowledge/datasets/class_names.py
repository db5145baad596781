"""Class names as prompts spell them, and base and novel classes."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


_ONE_WORD = re.compile(r"[A-Za-z0-9]+")


def prompt_name(name: str) -> str:
    """Spelling of a class name for prompts: words with single spaces.

    A name of one word is read as CamelCase: split at its humps and lower-cased except for acronyms
    (`ApplyEyeMakeup` -> `apply eye makeup`, `TVShow` -> `TV show`). Other names keep their case.
    Underscores become spaces; the brackets of SSv2 placeholders go (`[something]` -> `something`).
    """
    words = re.sub(r"[\[\]]", "", name.replace("_", " ")).split()
    if len(words) == 1 and _ONE_WORD.fullmatch(words[0]):
        words = [_lowered(part) for part in _HUMP.split(words[0])]
    return " ".join(words)


@lru_cache(maxsize=1 << 14)
def normalised(name: str) -> str:
    """Spelling for comparing names: CamelCase split, case and punctuation folded.

    `BasketballDunk`, `basketball_dunk` and `Basketball dunk!` are equal; `pull up` and `pullup` are
    not.
    """
    text = " ".join(_HUMP.split(unicodedata.normalize("NFKC", name)))
    text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join("".join(c if _is_letter(c) else " " for c in text).split())


def base_flags(groups: Sequence[str], fraction: float) -> list[bool]:
    """Which classes are base: the first floor(fraction * n) of each group of n.

    Args:
        groups: group of each class, in id order.
        fraction: share of base classes, 0 to 1.

    Raises:
        ValueError: the fraction is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction of base classes is {fraction}; give a number from 0 to 1")
    exact = Fraction(str(fraction))
    room = {group: math.floor(exact * n) for group, n in Counter(groups).items()}
    flags = []
    for group in groups:
        flags.append(room[group] > 0)
        room[group] -= 1
    return flags


def _is_letter(character: str) -> bool:
    """Whether it is a letter, a digit or a mark on one (vowels of many scripts are marks)."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _lowered(part: str) -> str:
    is_acronym = len(part) > 1 and part == part.upper()
    return part if is_acronym else part.lower()
