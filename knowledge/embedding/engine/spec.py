"""What the engine is told: model, processes, parts to make. Nothing of torch is imported."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from artifacts.frozen import Frozen
from artifacts.provenance import Provenance
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import FrameConfig, Precision


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
