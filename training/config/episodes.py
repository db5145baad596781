"""How few-shot episodes are drawn."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from artifacts.frozen import Frozen
from training.config.settings import PositiveInt


class EpisodesConfig(Frozen):
    """N-way K-shot episodes of a split; the defaults are the protocol of the few-shot papers."""

    split: Literal["train", "val", "test"] = "test"
    """Split whose videos are drawn."""
    ways: Annotated[int, Field(ge=2)] = 5
    """Classes of an episode (N)."""
    shots: PositiveInt = 1
    """Support videos of each of them (K)."""
    queries: PositiveInt = 1
    """Query videos of each of them."""
    num_episodes: PositiveInt = 10_000
    """Episodes drawn; fewer of them are the first ones of more."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Draws differ with it."""
