"""What decides a linear probe; nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from training.config.method import FittedConfig
from training.config.settings import PositiveReal


class LinearProbeConfig(FittedConfig):
    """Multinomial logistic regression on a video's mean frame feature."""

    name: Literal["linear_probe"] = "linear_probe"
    """The method."""
    strength: Literal["val"] | PositiveReal = "val"
    """L2 regularisation: half of it times the squared weights joins the sum of cross-entropies over
    the videos (scikit-learn's 1 / C). `val`: chosen on the validation videos by a sweep from 1e-6
    to 1e6."""

    @property
    def chosen_on_val(self) -> tuple[str, ...]:
        """The strength, unless it is given."""
        return ("model.strength",) if self.strength == "val" else ()


CONFIG = LinearProbeConfig
