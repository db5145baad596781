"""CLIP's text tower within a model that trains it.

Legend: N texts, L tokens, W width of the tower, D embedding.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from knowledge.clip.model import Clip
from knowledge.clip.tokens import MAX_TOKENS, clip_tokens

TEXTS_PER_PASS = 256
"""Texts per forward pass where no gradient is kept."""


class TextTower(nn.Module):
    """Tokens to CLIP features; float32 weights, all of them trained.

    Attention is causal, so tokens behind the end of the longest text change nothing and are cut off
    before the blocks: class prompts are a fifth of CLIP's 77 tokens.
    """

    def __init__(self, clip: Clip) -> None:
        """Take over the text tower of a loaded CLIP; names are those of open_clip's model."""
        super().__init__()
        model = clip.model
        self._arch = clip.identity["arch"]
        self.token_embedding = model.token_embedding
        self.positional_embedding = model.positional_embedding
        self.transformer: Any = model.transformer
        self.ln_final = model.ln_final
        self.text_projection = model.text_projection
        self.attn_mask: torch.Tensor
        self.register_buffer("attn_mask", model.attn_mask, persistent=False)
        self.requires_grad_(True)

    def tokenize(self, texts: Sequence[str]) -> torch.Tensor:
        """(N, L) tokens, L that of the longest text; 0 behind the end of a text.

        Raises:
            ValueError: a text is longer than CLIP's context.
        """
        for text in texts:
            if (length := clip_tokens(text)) > MAX_TOKENS:
                raise ValueError(
                    f"text {text[:60]!r}... has {length} CLIP tokens, at most {MAX_TOKENS} fit; "
                    "shorten the class name"
                )
        tokens: torch.Tensor = _tokenizer(self._arch)(list(texts))
        return tokens[:, : int(tokens.argmax(dim=1).max()) + 1]

    def forward(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """(N, L) tokens to features (N, D), not normalised."""
        length = tokens_NL.shape[1]
        x_NLW = self.token_embedding(tokens_NL) + self.positional_embedding[:length]
        x_NLW = self.transformer(x_NLW, attn_mask=self.attn_mask[:length, :length])
        x_NLW = self.ln_final(x_NLW)
        rows = torch.arange(len(tokens_NL), device=tokens_NL.device)
        end_NW = x_NLW[rows, tokens_NL.argmax(dim=1)]  # the end has the largest id of all tokens
        features: torch.Tensor = end_NW @ self.text_projection
        return features

    @torch.no_grad()
    def embed(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """`forward` in parts, without gradient."""
        return torch.cat([self(part) for part in torch.split(tokens_NL, TEXTS_PER_PASS)])


def _tokenizer(arch: str) -> Any:
    with warnings.catch_warnings():
        # open_clip leaves its vocabulary file to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        import open_clip

        return open_clip.get_tokenizer(arch)
