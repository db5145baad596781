"""How many CLIP tokens a text takes.

CLIP reads 77 tokens and open_clip's tokenizer cuts what is longer without a word, so every text is
counted before it is stored or encoded.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

MAX_TOKENS = 77
"""Tokens that CLIP's text encoder reads, start and end included."""


def clip_tokens(text: str) -> int:
    """Number of CLIP tokens of a text, with start and end, nothing cut."""
    return len(_tokenizer().encode(text)) + 2


@cache
def _tokenizer() -> Any:
    with warnings.catch_warnings():
        # open_clip leaves its vocabulary file to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()
