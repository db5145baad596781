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

    def advice(self, setting: str, batch_size: int, num_classes: int) -> str | None:
        """What to know where a batch already has most classes as negatives; None elsewhere.

        Args:
            setting: full name of these settings, such as `model.negatives`.
            batch_size: clips per step.
            num_classes: that the clips are of, taken as equally frequent.
        """
        share = 1 - (1 - 1 / num_classes) ** batch_size
        if not self.k or self.corpus == "union" or share < 0.5:
            return None
        return (
            f"{setting}.k={self.k}: a batch of {batch_size} clips holds {100 * share:.0f} % of the "
            f"{num_classes} classes as negatives already, where mined ones may gain nothing; "
            f"compare with {setting}.k=0"
        )

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
