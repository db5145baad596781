"""Residual attention blocks over a sequence.

Legend: B sequences, L tokens, D width.
"""

from __future__ import annotations

import torch
from torch import nn


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the activation of CLIP."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply it."""
        return x * torch.sigmoid(1.702 * x)


class AttentionBlock(nn.Module):
    """Pre-norm block: x + MHA(LN(x)), then x + MLP(LN(x)) with width 4 D and QuickGELU.

    Source: CLIP; initial values and LN eps 1e-12 as in ActionCLIP's `Transf`: linear weights
    N(0, 0.02), biases 0, the attention's input projection as PyTorch has it (Xavier).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim, eps=1e-12)
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(dim, eps=1e-12)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), QuickGELU(), nn.Linear(4 * dim, dim))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x_BLD: torch.Tensor, missing_BL: torch.Tensor | None = None) -> torch.Tensor:
        """(B, L, D) to (B, L, D); tokens that are True in `missing_BL` are never attended to."""
        normed_BLD = self.ln_1(x_BLD)
        attended_BLD, _ = self.attn(
            normed_BLD, normed_BLD, normed_BLD, key_padding_mask=missing_BL, need_weights=False
        )
        x_BLD = x_BLD + attended_BLD
        out_BLD: torch.Tensor = x_BLD + self.mlp(self.ln_2(x_BLD))
        return out_BLD


class ResidualTransformer(nn.Module):
    """x + Blocks(x + P), where P is a learned embedding of the position or absent.

    Source: MGDM eq. 13-14 and its discriminator; P as in ActionCLIP and BIKE (which keep 77 rows
    of it and use the first L), N(0, 0.02) if nothing else is said.
    """

    def __init__(
        self,
        dim: int,
        heads: int | None,
        blocks: int,
        num_positions: int = 0,
        position_std: float = 0.02,
    ) -> None:
        """Build it.

        Args:
            dim: width D.
            heads: attention heads; D / 64, at least 1, when None.
            blocks: number of blocks.
            num_positions: rows of P; 0: no P.
            position_std: standard deviation of P's initial values.

        Raises:
            ValueError: D is not a multiple of the number of heads.
        """
        super().__init__()
        heads = heads or max(1, dim // 64)
        if dim % heads:
            raise ValueError(f"model.heads={heads} does not divide the embedding width {dim}")
        self.blocks = nn.ModuleList(AttentionBlock(dim, heads) for _ in range(blocks))
        self.position = (
            nn.Parameter(torch.randn(num_positions, dim) * position_std) if num_positions else None
        )

    def forward(self, x_BLD: torch.Tensor, missing_BL: torch.Tensor | None = None) -> torch.Tensor:
        """(B, L, D) to (B, L, D)."""
        y_BLD = x_BLD if self.position is None else x_BLD + self.position[: x_BLD.shape[1]]
        for block in self.blocks:
            y_BLD = block(y_BLD, missing_BL)
        return x_BLD + y_BLD
