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
    """Registered dataset: NAME (the one used last) or NAME@KEY."""
    features: Path
    """Features of the videos: .npz or .parquet with (T, D) or (D,) for each video id."""
    clip: ClipSpec | str
    """open_clip architecture that made the features; any name if it cannot be loaded."""
    texts: Path | None = None
    """Features of class ids or names, .npz or .parquet; if omitted the model embeds the class
    texts."""
    logit_scale: float | None = None
    """The model's factor on cosines, with features of texts; if omitted 100."""
    mining: MiningConfig = MiningConfig()
    """Which candidates are kept as negatives."""
