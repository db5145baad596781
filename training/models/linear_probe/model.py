"""Linear probe: what frozen CLIP's features tell of the classes without their texts.

Source: Radford et al., "Learning transferable visual models from natural language supervision",
section 3.2 and appendix A.3. As in CLIP's own example, features are not brought to unit length: a
common factor is the strength's matter, and lengths may tell something. Deviations: an image becomes
the mean of a video's frames; features are those after CLIP's projection, which are what is cached;
and the validation videos, once they have chosen the strength, are not trained on.

Legend: B videos, N videos of a split, T frames, D embedding, K classes.
"""

from __future__ import annotations

from typing import Any

import torch

from training.data.class_list import ClassList
from training.layers.losses import full_precision
from training.models.fitted import FittedMethod
from training.models.linear_probe.config import LinearProbeConfig
from training.models.linear_probe.regression import Solution, minimise, strongest_best
from training.models.method import Classifier, Encoded, Parts


class LinearProbe(FittedMethod):
    """Logistic regression on the mean features of frozen CLIP."""

    config: LinearProbeConfig
    weight_KD: torch.Tensor
    bias_K: torch.Tensor

    def __init__(self, config: LinearProbeConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.register_buffer("weight_KD", torch.zeros(0, 0))
        self.register_buffer("bias_K", torch.zeros(0))

    def embed(self, features_BTD: torch.Tensor) -> torch.Tensor:
        """The mean of the frames' features."""
        return full_precision(features_BTD).mean(dim=1)

    def fit(self, train: Encoded, val: Encoded | None) -> dict[str, Any]:
        """Minimise the regression's loss, with the strength given or chosen.

        Returns:
            `loss`, the mean cross-entropy; `strength`; where that was chosen, `strengths`: the
            `val_top1` of each that was tried.

        Raises:
            ValueError: a class without a training video.
        """
        features_ND = train["video_BD"]
        class_N = self.learn_classes(self.classes, train["class_ids_B"])

        def solved(strength: float) -> Solution:
            return minimise(features_ND, class_N, len(self.classes.names), strength)

        said: dict[str, Any] = {}
        if self.config.strength == "val":
            assert val is not None
            video_ND = val["video_BD"].double()
            true_N = self.classes.positions(val["class_ids_B"])

            def accuracy(strength: float) -> float:
                found_N = solved(strength).logits(video_ND).argmax(dim=1)
                return float((found_N == true_N).double().mean())

            strength, tried = strongest_best(accuracy)
            said["strengths"] = {f"{each:.3g}": {"val_top1": tried[each]} for each in tried}
        else:
            strength = self.config.strength
        solution = solved(strength)
        self.weight_KD, self.bias_K = solution.weight_KD.float(), solution.bias_K.float()
        return {"loss": solution.cross_entropy, "strength": strength, **said}

    @property
    def primary(self) -> str:
        """The only protocol."""
        return "linear_probe"

    def logits(self, classes: ClassList) -> Classifier:
        """The regression's.

        Raises:
            ValueError: a class that it was not fitted on.
        """
        row_K = self.learnt(classes)
        weight_KD, bias_K = self.weight_KD[row_K], self.bias_K[row_K]
        return lambda video_BD: video_BD @ weight_KD.T + bias_K


METHOD = LinearProbe
