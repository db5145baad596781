"""Settings of mined texts that join a loss."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen


class NegativesConfig(Frozen):
    """Which mined texts join the loss."""

    k: Annotated[int, Field(ge=0)] = 7
    """Hard negatives per video."""
    slice: tuple[int, int] | None = None
    """Ranks [start, stop) from 0, instead of the first k; [6, 9) is the paper's `3 (bot)`."""
    corpus: Literal["dataset", "union"] = "dataset"
    """Only classes of the dataset, or every text that was mined."""

    @property
    def ranks(self) -> tuple[int, int]:
        """[start, stop) of the ranks in use, counted from 0."""
        return self.slice or (0, self.k)

    @model_validator(mode="after")
    def _slice_has_k_ranks(self) -> Self:
        if self.slice:
            start, stop = self.slice
            if not 0 <= start < stop or stop - start != self.k:
                raise ValueError(
                    f"model.negatives.slice={[start, stop]} must hold "
                    f"model.negatives.k={self.k} ranks"
                )
        return self
