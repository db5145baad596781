"""What `embed` and `classify` are given: video files, without a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from artifacts.frozen import Frozen
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import PROMPT, FrameConfig


class VideoFilesSpec(Frozen):
    """Which video files, and how frozen CLIP sees them."""

    videos: tuple[Path, ...] = Field(min_length=1)
    """Video files."""
    clip: ClipSpec
    """Frozen CLIP that embeds."""
    frames: FrameConfig = FrameConfig()
    """Which frames are embedded."""
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    """Of CLIP: bf16 is faster where the hardware has it and moves features by 1 %; auto takes it
    there."""
    workers: int = Field(0, ge=0)
    """Processes that decode, with a limit of 300 s for a video; 0: threads of this one."""
    device: str = "cpu"
    """Where CLIP runs: `cpu` or `cuda`."""


class EmbedSpec(VideoFilesSpec):
    """Where to write the embeddings of video files."""

    output: Path
    """File to write: .npz or .parquet."""

    @field_validator("output")
    @classmethod
    def _is_written(cls, output: Path) -> Path:
        if output.suffix not in (".npz", ".parquet"):
            raise ValueError(f"{output}: embeddings are written as .npz or .parquet")
        return output


class ClassifySpec(VideoFilesSpec):
    """Which classes frozen CLIP is to tell apart in video files."""

    classes: str
    """Classes: a file (.txt with a name per line, .csv with a column `name`, .json), a registered
    dataset or a known class list (ava, ucf101, ...)."""
    templates: tuple[str, ...] = Field((PROMPT,), min_length=1)
    """Text that stands for a class, with {label} for its name; of several the mean embedding is
    taken."""
    descriptions: str | None = None
    """Texts about the classes in place of their names: a file (.csv with columns class,text, or
    .json of name: texts), or NAME of `descriptions`; of several the mean embedding is taken."""
    num_top: int = Field(5, ge=1)
    """Classes shown per video."""

    @field_validator("templates")
    @classmethod
    def _have_a_label(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if "{label}" not in template:
                raise ValueError(f"prompt template {template!r} must contain {{label}}")
        return templates
