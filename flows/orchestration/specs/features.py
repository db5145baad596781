"""What `register-features` is given."""

from __future__ import annotations

from pathlib import Path

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import VideosName
from knowledge.clip.weights import ClipSpec
from knowledge.mining.config import MiningConfig


class FeaturesSpec(Frozen):
    """Features of a registered dataset."""

    dataset: VideosName
    """Registered dataset: NAME (the newest) or NAME@KEY."""
    features: Path
    """Of the videos: .npz or .parquet."""
    clip: ClipSpec | str
    """The model they are of; its name alone if it cannot be loaded."""
    texts: Path | None = None
    """Features of the classes' texts; None: the model embeds them."""
    logit_scale: float | None = None
    """The model's factor on cosines, with `texts`; 100 when None."""
    mining: MiningConfig = MiningConfig()
