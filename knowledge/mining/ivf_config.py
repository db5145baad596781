"""How approximate search (`knowledge.mining.inverted_lists`) divides a corpus."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class IvfConfig(BaseModel):
    """How the corpus is divided and how much of it a query sees."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_lists: int = Field(ge=1)
    """Lists the corpus is divided into, about the square root of its rows."""
    num_probes: int = Field(ge=1)
    """Lists a query is compared with; all of them make the search exact."""
    seed: int = 0
    """Of the k-means that finds the lists and of the queries recall is measured on."""
    num_measured: int = Field(1000, ge=1)
    """Queries recall is measured on; all if there are fewer."""

    @model_validator(mode="after")
    def _probes_exist(self) -> Self:
        if self.num_probes > self.num_lists:
            raise ValueError(
                f"num_probes={self.num_probes} exceeds num_lists={self.num_lists}; "
                f"give at most {self.num_lists}"
            )
        return self
