"""The base of all configs, and types of their fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]


PositiveInt = Annotated[int, Field(ge=1)]


PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Base of all configs: immutable, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
