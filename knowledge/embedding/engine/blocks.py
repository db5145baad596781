"""The blocks of a frozen transformer, made fast on a CPU.

Weights are laid out once as oneDNN multiplies them, and the activation is part of the product:
QuickGELU(x) = x sigmoid(1.702 x) is SiLU(1.702 x) / 1.702, whose factors go into the weights around
it. Measured for ViT-B/32 in bf16 on one core: 0.65 of the time of open_clip's blocks with QuickGELU
(OpenAI's weights), 0.8 with GELU.

Legend: N images or texts, P their tokens, W width, H heads.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import nn

QUICK = 1.702
"""QuickGELU's factor."""

Activation = Literal["none", "gelu", "swish"]


class Layer:
    """A linear layer of frozen weights with the activation behind it."""

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        dtype: torch.dtype,
        rows: int,
        activation: Activation = "none",
    ) -> None:
        """Take a copy of the weights.

        Args:
            weight: (out, in) on the CPU.
            bias: (out,).
            dtype: of the copy.
            rows: how many are multiplied at a time, usually.
            activation: of the result.
        """
        self.weight, self.bias = weight.detach().to(dtype), bias.detach().to(dtype)
        self.activation = activation
        if dtype == torch.bfloat16 and can_lay_out():
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, rows)

    def moved(self, device: torch.device) -> None:
        """Move the weights, on other devices than the CPU in their plain form."""
        if self.weight.is_mkldnn and device.type != "cpu":
            self.weight = self.weight.to_dense()
        self.weight, self.bias = self.weight.to(device), self.bias.to(device)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        if self.weight.is_mkldnn:
            kind = "none" if self.activation == "gelu" else ""  # of the approximation
            fused: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
                x, self.weight, self.bias, self.activation, [], kind
            )
            return fused
        y = F.linear(x, self.weight, self.bias)
        if self.activation == "gelu":
            return F.gelu(y)
        return F.silu(y, inplace=True) if self.activation == "swish" else y


class Block:
    """A residual attention block."""

    def __init__(
        self,
        block: ResidualAttentionBlock,
        dtype: torch.dtype,
        rows: int,
        is_causal: bool = False,
    ) -> None:
        """Take a copy of one that `is_known`.

        Args:
            block: on the CPU.
            dtype: of the copy.
            rows: as for `Layer`.
            is_causal: a token sees itself and those before it.
        """
        self.is_causal = is_causal
        attn, fc, proj = block.attn, block.mlp.c_fc, block.mlp.c_proj
        is_quick = isinstance(block.mlp.gelu, QuickGELU)
        scale = QUICK if is_quick else 1.0
        activation: Activation = "swish" if is_quick else "gelu"
        self.heads = attn.num_heads
        self.qkv = Layer(attn.in_proj_weight, attn.in_proj_bias, dtype, rows)
        self.out = Layer(attn.out_proj.weight, attn.out_proj.bias, dtype, rows)
        self.fc = Layer(scale * fc.weight, scale * fc.bias, dtype, rows, activation)
        self.proj = Layer(proj.weight / scale, proj.bias, dtype, rows)
        self.norms: tuple[Any, ...] = tuple(
            copy.deepcopy(norm).to(dtype) for norm in (block.ln_1, block.ln_2)
        )

    def moved(self, device: torch.device) -> None:
        """Move the weights."""
        for layer in (self.qkv, self.out, self.fc, self.proj):
            layer.moved(device)
        for norm in self.norms:
            norm.to(device)

    def __call__(self, x_NPW: torch.Tensor, queries: int | None = None) -> torch.Tensor:
        """Tokens to tokens (N, P, W); only the first ones where so many queries are given."""
        N, P, W = x_NPW.shape
        qkv = self.qkv(self.norms[0](x_NPW)).view(N, P, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q[:, :, :queries], k, v, is_causal=self.is_causal)
        x = x_NPW[:, :queries] + self.out(attended.transpose(1, 2).reshape(N, -1, W))
        return x + self.proj(self.fc(self.norms[1](x)))


def is_known(block: Any) -> bool:
    """Whether `Block` computes what this one does."""
    return (
        type(block) is ResidualAttentionBlock
        and type(block.ls_1) is type(block.ls_2) is nn.Identity
        and type(block.mlp.gelu) in (nn.GELU, QuickGELU)
        and getattr(block.mlp.gelu, "approximate", "none") == "none"
        and not hasattr(block, "ln_1_kv")
    )


def can_lay_out() -> bool:
    """Whether torch lays bf16 weights out on this processor, with what its compiler uses."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return known and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
