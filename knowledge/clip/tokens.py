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


def is_read_whole(text: str) -> bool:
    """Whether CLIP reads all of a text."""
    # Of plain characters a token takes one at least, which spares most texts the tokenizer.
    is_short = len(text) <= MAX_TOKENS - 2 and text.isascii() and "&" not in text
    return is_short or clip_tokens(text) <= MAX_TOKENS


@cache
def _tokenizer() -> Any:
    with warnings.catch_warnings():
        # open_clip leaves its vocabulary file to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        from open_clip.tokenizer import SimpleTokenizer

        return SimpleTokenizer()
