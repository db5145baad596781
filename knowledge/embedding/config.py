"""What is embedded and how; nothing heavy is imported."""

from __future__ import annotations

import os
import sys
from typing import Literal

from pydantic import Field

from artifacts.frozen import Frozen
from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import BUNDLED, ClipSpec
from knowledge.video.resizing import Resizing

PROMPT = "This is a video about {label}"
"""Text that stands for a class, as CLIP reads it. Source: MGDM, section 2.4."""

SUFFIXES = (".txt", ".csv", ".parquet")


def is_corpus_file(name: str) -> bool:
    """Whether a corpus is named by a file, not by a class list."""
    return name.lower().endswith(SUFFIXES)


Precision = Literal["fp32", "bf16"]


class FrameConfig(Frozen):
    """Which pixels of a video are embedded."""

    num_frames: int = Field(16, ge=1)
    """Frames per video (T)."""
    offset: Literal["center", "start"] = "center"
    """Which frame of each of the T equal segments."""
    short_side: int | None = Field(None, ge=1)
    """Pixels of the short side before the centre crop; if omitted the model's image size."""

    def check(self, image_size: int, resizing: Resizing) -> None:
        """Refuse pictures that cannot be made for a model.

        Raises:
            ValueError: they are shorter than its images, or a short side of pictures that it does
                not crop.
        """
        if self.short_side is None:
            return
        if self.short_side < image_size:
            raise ValueError(
                f"frames.short_side={self.short_side} is less than the {image_size} pixels of the "
                "model's images; leave it out"
            )
        if resizing.mode != "shortest":
            raise ValueError(
                f"frames.short_side={self.short_side} has no effect: the model's pictures are not "
                f"cropped ({resizing.mode}); leave it out"
            )


class CorpusConfig(Frozen):
    """How the texts of a file are encoded."""

    template: str = Field("{label}", pattern=r"\{label\}")
    """What is encoded of a text, which stands for {label}; names of actions want `This is a video
    about {label}`."""
    max_unusable: float = Field(0.01, ge=0, le=1)
    """Largest share of the file's rows that may be empty, too long for CLIP, or of several
    classes; with more, the file is refused."""


class EncodingOptions(Frozen):
    """How videos are decoded and encoded; of this only the resolved precision is in a key."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of CLIP on frames and on texts of files: bf16 is 4 times as fast where the hardware has it
    and moves features by 1 %; auto takes it there, except for bundled models."""
    num_workers: int | None = Field(None, ge=1)
    """Processes that decode (of each shard, on a cluster); if omitted one per usable core, on a
    cluster one."""
    deadline_s: float = Field(300.0, gt=0)
    """A video that takes longer to read or decode, in s, is unreadable."""
    separate_encoder: bool | None = None
    """Workers only decode, and one process encodes for them; if omitted only on a GPU."""

    def resolved(self, clip: LazyClip) -> EncodingOptions:
        """The settings that hold on this machine, none of them open.

        Raises:
            ValueError: every worker would need the GPU for itself.
        """
        on_gpu = not clip.device.startswith("cpu")
        if on_gpu and self.separate_encoder is False:
            raise ValueError(
                f"separate_encoder=false needs the CPU, not {clip.device}; leave it out"
            )
        return EncodingOptions(
            precision=resolve_precision(self.precision, clip.spec, clip.device),
            num_workers=self.num_workers or _num_cores(),
            deadline_s=self.deadline_s,
            separate_encoder=on_gpu if self.separate_encoder is None else self.separate_encoder,
        )


def _num_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def resolve_precision(
    precision: Literal["auto"] | Precision, spec: ClipSpec, device: str
) -> Precision:
    """What `auto` means here: bf16 where the hardware multiplies it for torch, else fp32.

    Bundled models run in fp32, so that the artifacts of the demo are the same on every machine.
    """
    if precision != "auto":
        return precision
    if spec.weights == BUNDLED:
        return "fp32"
    import torch

    from knowledge.embedding.engine.blocks import can_lay_out

    if torch.device(device).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        fast = can_lay_out() and bool(has.get("avx512_bf16") or has.get("amx_bf16"))
    return "bf16" if fast else "fp32"
