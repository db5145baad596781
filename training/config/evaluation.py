"""Validation during training, and scoring."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from training.config.settings import PositiveInt


class EvalConfig(Frozen):
    """Validation during training, and scoring."""

    every: Annotated[int, Field(ge=0)] = 1
    """Epochs between passes over the `val` split; 0: never."""
    select: str | None = None
    """Split whose videos choose the published epoch, by the first metric of the task (top-1; where
    videos have several classes, mean average precision): `val`. If omitted, the last epoch is
    published."""
    patience: PositiveInt | None = None
    """Stop after this many validations without improvement; if omitted never."""
    views: Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")] = "1x1"
    """Clips in time x crops in space that a test video is seen in; probabilities are averaged.
    Validation during training sees one."""
    batch_size: PositiveInt = 256
    """Clips per forward pass."""

    @property
    def videos_per_pass(self) -> int:
        """Videos whose views together are about `batch_size` clips."""
        clips, crops = self.num_views
        return max(1, self.batch_size // (clips * crops))

    @property
    def num_views(self) -> tuple[int, int]:
        """Clips in time, crops in space."""
        clips, crops = self.views.split("x")
        return int(clips), int(crops)

    @model_validator(mode="after")
    def _selection_is_on_validation_videos(self) -> Self:
        if self.select == "test":
            raise ValueError(
                "eval.select=test would choose the weights on the videos that measure them; use val"
            )
        if self.select not in (None, "val"):
            raise ValueError(f"eval.select={self.select} is not a split to select on; use val")
        if self.select and not self.every:
            raise ValueError("eval.select needs validation; set eval.every=1")
        return self
