"""The text tower of a frozen CLIP, made fast for many texts: precision, and no padding.

Attention is causal, so what comes behind the end of a text changes nothing. Texts are sorted by
length and cut to the longest of their batch: actions are a sixth of CLIP's 77 tokens.

Legend: N texts, L tokens, W width, D embedding.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from open_clip.model import CLIP

from knowledge.clip.model import Clip
from knowledge.embedding.config import Precision
from knowledge.embedding.engine.blocks import Block, is_known
from knowledge.embedding.engine.image_encoder import Rows

TOKENS_PER_BATCH = 2048
"""With 1,024 to 8,192 two cores take the same time for ViT-B/32 in bf16."""

WHOLE_TEXTS_PER_BATCH = 32


class TextEncoder:
    """Texts to unit rows. A tower that is not CLIP's own runs as it is, padded."""

    def __init__(
        self,
        clip: Clip,
        precision: Precision,
        *,
        tokens_per_batch: int = TOKENS_PER_BATCH,
        whole_texts_per_batch: int = WHOLE_TEXTS_PER_BATCH,
    ) -> None:
        """Take a copy of the text tower, its weights cast, on the device of the model.

        Args:
            clip: the model.
            precision: of the weights.
            tokens_per_batch: with their padding.
            whole_texts_per_batch: where the tower is not CLIP's own.
        """
        self.tokens_per_batch = tokens_per_batch
        self.whole_texts_per_batch = whole_texts_per_batch
        self._device = clip.device
        self._tokenize = clip.tokens
        self.blocks: list[Block] = []
        """None where the tower runs as it is."""
        model, dtype = clip.model, torch.bfloat16 if precision == "bf16" else torch.float32
        if not _is_plain(model):
            without_images = {id(model.visual): None}  # in place of a copy
            self._whole: Any = copy.deepcopy(model, without_images).to(dtype)
            return
        for block in model.transformer.resblocks:
            host = copy.deepcopy(block).cpu()
            self.blocks.append(Block(host, dtype, tokens_per_batch, is_causal=True))
            self.blocks[-1].moved(self._device)
        self._embedding = model.token_embedding.weight.detach().to(dtype)
        self.positions = model.positional_embedding.detach().to(dtype)
        self._norm: Any = copy.deepcopy(model.ln_final).to(dtype)
        self._projection = model.text_projection.detach().to(dtype)

    @torch.inference_mode()
    def __call__(self, texts: list[str]) -> tuple[Rows, Rows]:
        """Unit rows (N, D) and the features' lengths (N,), float32.

        Args:
            texts: one at least.

        Raises:
            ValueError: a text is longer than the model's context.
        """
        tokens_NL = self._tokenize(texts)
        if self.blocks:
            lengths = tokens_NL.argmax(dim=1) + 1  # the end has the largest id of all tokens
            order = lengths.argsort(stable=True, descending=True)
            parts = batches(order, lengths[order], self.tokens_per_batch)
            rows = [self._features(tokens_NL[part]) for part in parts]
            features = torch.cat(rows)[order.argsort()]
        else:
            whole = [
                self._whole.encode_text(part.to(self._device), normalize=False)
                for part in torch.split(tokens_NL, self.whole_texts_per_batch)
            ]
            features = torch.cat(whole).float().cpu()
        norms = features.norm(dim=-1)
        units = features / norms[:, None]
        return cast(Rows, units.numpy()), cast(Rows, norms.numpy())

    def _features(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """(N, D) features, float32 on the CPU."""
        end_N = tokens_NL.argmax(dim=1)
        length = int(end_N.max()) + 1
        x_NLW = self._embedding[tokens_NL[:, :length].to(self._device)]
        x_NLW = x_NLW + self.positions[:length]
        for block in self.blocks:
            x_NLW = block(x_NLW)
        end_NW = x_NLW[torch.arange(len(end_N)), end_N]
        features: torch.Tensor = self._norm(end_NW) @ self._projection
        return features.float().cpu()


def batches(
    order: torch.Tensor, lengths: torch.Tensor, tokens_per_batch: int
) -> list[torch.Tensor]:
    """Texts by falling length, cut so that a batch holds so many tokens with its padding.

    So the longest text alone gives the shape of a batch, of which there are few: the first product
    of a shape takes much longer than later ones.
    """
    sizes, start = [], 0
    while start < len(order):
        sizes.append(max(tokens_per_batch // int(lengths[start]), 1))
        start += sizes[-1]
    sizes[-1] -= start - len(order)
    return list(torch.split(order, sizes))


def _is_plain(model: Any) -> bool:
    """Whether its text tower is CLIP's own: causal blocks, the feature at a text's end."""
    return (
        type(model) is CLIP
        and model.attn_mask is not None
        and model.text_pool_type == "argmax"
        and isinstance(model.text_projection, torch.Tensor)
        and len(model.transformer.resblocks) > 0
        and all(map(is_known, model.transformer.resblocks))
    )
