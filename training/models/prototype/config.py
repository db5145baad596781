"""What decides the prototypes and the cache; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from artifacts.frozen import Frozen
from training.config.data import DataConfig
from training.config.method import FittedConfig
from training.config.settings import PositiveReal


class FactorConfig(Frozen):
    """Factor on cosines."""

    init: Literal["clip"] | Annotated[float, Field(gt=0, le=100)] = "clip"
    """That of the CLIP checkpoint (100 in all of OpenAI's), or a number."""


class PrototypeConfig(FittedConfig):
    """Nearest class mean of unit video embeddings; or, with the cache, Tip-Adapter."""

    name: Literal["prototype"] = "prototype"
    """The method."""
    cache: bool = False
    """Tip-Adapter instead of class means: class prompts, and similar training videos' classes."""
    alpha: Literal["val"] | PositiveReal = 1.0
    """Weight of the cache beside the prompts. `val`: chosen on the validation videos."""
    beta: Literal["val"] | PositiveReal = 5.5
    """Sharpness: how fast a training video's vote fades with 1 - cosine. `val`: as for alpha."""
    logit_scale: FactorConfig = FactorConfig()
    """Factor on cosines."""

    @property
    def chosen_on_val(self) -> tuple[str, ...]:
        """Alpha and beta, unless they are given."""
        return tuple(f"model.{each}" for each in ("alpha", "beta") if getattr(self, each) == "val")

    def without(self, need: str) -> str:
        """How to do without CLIP's factor."""
        if need == "logit_scale":
            return "set model.logit_scale.init=100"
        return super().without(need)

    def without_effect(self, data: DataConfig) -> Iterator[tuple[str, str]]:
        """Settings that change nothing in this combination, and why."""
        yield from super().without_effect(data)
        if not self.cache:
            for name in ("alpha", "beta"):
                yield f"model.{name}", "model.cache is off"


CONFIG = PrototypeConfig
