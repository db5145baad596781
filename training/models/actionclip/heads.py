"""Residual attention blocks over a sequence, and ActionCLIP's heads from frames to a clip.

Legend: B sequences or clips, L tokens, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from training.layers.attention import ResidualTransformer
from training.models.actionclip.config import VideoPromptConfig


class MeanFrames(nn.Module):
    """The mean of the frames (`meanP`)."""

    def forward(self, frames_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, D)."""
        return frames_BTD.mean(dim=1)


class ShiftConvolution(nn.Module):
    """mean_t(x + conv(x)), a convolution over time per channel that starts as a shift (`Conv_1D`).

    At first a quarter of the channels takes the frame before, a quarter the frame behind, the
    others their own; zeros beyond both ends. Source: ActionCLIP. Deviation: its code views
    (T, D) as (D, T) before the convolution, which mixes time with channels; here axes are swapped.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel_size=3, padding=1, groups=dim, bias=False)
        quarter = dim // 4
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[:quarter, 0, 0] = 1
            self.conv.weight[quarter : dim - quarter, 0, 1] = 1
            self.conv.weight[dim - quarter :, 0, 2] = 1

    def forward(self, frames_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, D)."""
        mixed_BTD = self.conv(frames_BTD.transpose(1, 2)).transpose(1, 2)
        mean_BD: torch.Tensor = (frames_BTD + mixed_BTD).mean(dim=1)
        return mean_BD


class RecurrentFrames(nn.Module):
    """mean_t(x + LSTM(x)), one layer of width D (`LSTM`). Source: ActionCLIP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, frames_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, D)."""
        mean_BD: torch.Tensor = (frames_BTD + self.lstm(frames_BTD)[0]).mean(dim=1)
        return mean_BD


class TransformerFrames(nn.Module):
    """mean_t(x + Blocks(x + P)) (`Transf`), ActionCLIP's best. Source: ActionCLIP."""

    def __init__(
        self, dim: int, heads: int, blocks: int, num_frames: int, position_std: float
    ) -> None:
        super().__init__()
        self.transformer = ResidualTransformer(dim, heads, blocks, num_frames, position_std)

    def forward(self, frames_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, D)."""
        mean_BD: torch.Tensor = self.transformer(frames_BTD).mean(dim=1)
        return mean_BD


class ClassTokenTransformer(nn.Module):
    """Output at a learned token before the frames, without residual (`Transf_cls`).

    Post-norm blocks, MLP width 2048, ReLU and dropout 0.1, a last LayerNorm; token and
    positions truncated normal. Source: ActionCLIP.
    """

    def __init__(
        self, dim: int, heads: int, blocks: int, num_frames: int, position_std: float
    ) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(dim, heads, 2048, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(
            block, blocks, norm=nn.LayerNorm(dim), enable_nested_tensor=False
        )
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(dim), std=position_std))
        self.position = nn.Parameter(
            nn.init.trunc_normal_(torch.empty(1 + num_frames, dim), std=position_std)
        )

    def forward(self, frames_BTD: torch.Tensor) -> torch.Tensor:
        """(B, T, D) to (B, D)."""
        token_B1D = self.token.expand(len(frames_BTD), 1, -1)
        tokens_BLD = torch.cat([token_B1D, frames_BTD], dim=1)
        tokens_BLD = tokens_BLD + self.position[: tokens_BLD.shape[1]]
        out_BD: torch.Tensor = self.encoder(tokens_BLD)[:, 0]
        return out_BD


def temporal_head(config: VideoPromptConfig, dim: int, num_frames: int) -> nn.Module:
    """From features of frames (B, T, D) to a clip's (B, D), as `config.post` says.

    Raises:
        ValueError: D is not a multiple of the number of heads.
    """
    num_heads = config.heads or (8 if config.post == "Transf_cls" else max(1, dim // 64))
    if config.post in ("Transf", "Transf_cls") and dim % num_heads:
        raise ValueError(
            f"model.video.heads={num_heads} does not divide the embedding width {dim}; "
            "set model.video.heads"
        )
    shape = (dim, num_heads, config.layers, num_frames, config.pos_emb_std)
    heads: dict[str, Callable[[], nn.Module]] = {
        "meanP": MeanFrames,
        "Conv_1D": lambda: ShiftConvolution(dim),
        "LSTM": lambda: RecurrentFrames(dim),
        "Transf": lambda: TransformerFrames(*shape),
        "Transf_cls": lambda: ClassTokenTransformer(*shape),
    }
    return heads[config.post]()
