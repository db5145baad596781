"""How many tokens a text takes, of CLIP's own tokenizer and of a model's.

CLIP reads 77 tokens, other models 16 to 77, and their tokenizers cut what is longer without a word.
One rule holds everywhere: what a model would not read whole is not embedded. Names and prompts are
refused, texts of files are left out and counted, and of a description the first whole sentences
that fit are taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

MAX_TOKENS = 77
"""Tokens that CLIP's text encoder reads, start and end included."""

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")


def clip_tokens(text: str) -> int:
    """Number of CLIP tokens of a text, with start and end, nothing cut."""
    return _own().count(text)


class Tokens:
    """A model's tokenizer, which refuses what it would cut."""

    def __init__(self, tokenizer: Any, arch: str = "CLIP") -> None:
        """Take over open_clip's tokenizer of an architecture."""
        self._tokenizer, self._arch = tokenizer, arch
        self._of_hub = getattr(tokenizer, "tokenizer", None)
        """That of transformers, which open_clip's wraps; None for CLIP's own."""
        self.num_tokens = int(tokenizer.context_length)
        """Tokens that are read, with those that are added."""

    def count(self, text: str) -> int:
        """Tokens of a text, with those that are added, nothing cut."""
        if self._of_hub is None:
            return len(self._tokenizer.encode(text)) + 2
        clean = getattr(self._tokenizer, "clean_fn", None) or _of_siglip
        if getattr(self._tokenizer, "tokenizer_mode", "") == "clips":  # adds start, end and class
            return len(self._of_hub(clean(text), add_special_tokens=False).input_ids) + 3
        return len(self._of_hub(clean(text)).input_ids)

    def reads_whole(self, text: str) -> bool:
        """Whether the model reads all of a text."""
        # Of plain characters a token takes one at least, which spares most texts the tokenizer.
        is_plain = self._of_hub is None and text.isascii() and "&" not in text
        return (is_plain and len(text) <= self.num_tokens - 2) or self.fits(text)

    def fits(self, text: str) -> bool:
        """The same, by counting."""
        return self.count(text) <= self.num_tokens

    def __call__(self, texts: Sequence[str], remedy: str = "shorten it") -> Any:
        """(N, L) token ids.

        Raises:
            ValueError: a text would be cut.
        """
        for text in texts:
            if not self.reads_whole(text):
                raise ValueError(
                    f"text {text[:60]!r}... has {self.count(text)} {self._arch} tokens, at most "
                    f"{self.num_tokens} fit; {remedy}"
                )
        return self._tokenizer(list(texts))


def fitting(text: str, fits: Callable[[str], bool] | None = None) -> str:
    """The first whole sentences of a text that together fit; empty if not even one does.

    Args:
        text: sentences.
        fits: whether a text is read whole; by CLIP when None.
    """
    fits = fits or _own().fits
    kept = ""
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        longer = text[:end].rstrip()
        if not fits(longer):
            break
        kept, start = longer, end
    return kept if start else ""


def _of_siglip(text: str) -> str:
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return str(canonicalize_text(basic_clean(text)))


@cache
def _own() -> Tokens:
    import warnings

    with warnings.catch_warnings():
        # open_clip leaves its vocabulary file to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        from open_clip.tokenizer import SimpleTokenizer

        return Tokens(SimpleTokenizer())
