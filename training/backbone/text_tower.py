"""CLIP's text tower within a model that trains it.

Legend: N texts, L tokens, W width of the tower, D embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from open_clip.model import CLIP
from torch import nn

from knowledge.clip.model import Clip

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
        self._tokens = clip.tokens
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
        tokens: torch.Tensor = self._tokens(texts, "shorten the class name")
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


def is_plain_text(model: Any) -> bool:
    """Whether a model's text tower is CLIP's own, which `TextTower` computes."""
    return (
        type(model) is CLIP
        and model.attn_mask is not None
        and model.text_pool_type == "argmax"
        and isinstance(model.text_projection, torch.Tensor)
    )
