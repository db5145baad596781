"""What the engine is told: model, processes, parts to make. Nothing of torch is imported."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from artifacts.frozen import Frozen
from artifacts.provenance import Provenance
from knowledge.clip.weights import BUNDLED, ClipSpec

Precision = Literal["fp32", "bf16"]


class FrameConfig(Frozen):
    """Which pixels of a video are embedded."""

    num_frames: int = Field(16, ge=1)
    """Frames T per video."""
    offset: Literal["center", "start"] = "center"
    """Which frame of each of the T equal segments."""
    short_side: int | None = Field(None, ge=1)
    """Pixels of the short side before the centre crop; the model's image size when None."""


class VideoRow(Frozen):
    """A video as the `videos` artifact has it."""

    video_id: str
    path: str
    fingerprint: str | None
    status: str
    reason: str | None


class Part(Frozen):
    """Everything that a worker needs to make one part."""

    number: int
    videos: tuple[VideoRow, ...]
    root: str
    frames: FrameConfig
    provenance: Provenance
    draft: str
    """Directory of the draft, which another process holds."""
    deadline_s: float
    """Longest time that the decoding of a video may take."""
    unreadable: dict[int, str] = Field(default_factory=dict)
    """Reasons of videos that ended a worker, by their place in the part."""


class EngineSpec(Frozen):
    """What an engine is started with."""

    clip: ClipSpec
    model_config_json: dict[str, Any] | None
    """open_clip's description of the architecture."""
    identity: dict[str, str]
    precision: Precision


class WorkerPoolSpec(Frozen):
    """The processes that a job uses."""

    num_workers: int
    separate_encoder: bool
    """One process encodes for all workers, which then only decode."""
    device: str
    """Of that process; the CPU where there is none."""


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
