"""Nearest class mean, and Tip-Adapter: what training videos give without any training.

Sources: class means of normalised embeddings compared by cosine, as in Chen et al., "A closer look
at few-shot classification" and Snell et al., "Prototypical networks"; the cache of Zhang et al.,
"Tip-Adapter: Training-free adaption of CLIP for few-shot classification", eq. 5-6. Deviations of
the cache: a video is the mean of its unit frames at unit length, as zero-shot CLIP sees it here;
it is kept as it is tested, not as the mean of ten augmentations; and the text is one prompt.

Legend: B videos, N training videos, T frames, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from training.data.class_list import ClassList
from training.layers.losses import full_precision
from training.models.fitted import FittedMethod
from training.models.method import Classifier, Encoded, Parts
from training.models.prototype.config import PrototypeConfig
from training.models.prototype.logits import (
    ALPHAS,
    BETAS,
    VIDEOS_AT_ONCE,
    best_of_grid,
    class_means,
    votes,
)


class Prototype(FittedMethod):
    """Class means of unit video embeddings, or all of these and their classes."""

    config: PrototypeConfig
    video_ND: torch.Tensor
    """The class means (K, D); with the cache, every training video."""
    class_N: torch.Tensor
    """Position of each row's class among those it was fitted on."""
    scale: torch.Tensor
    """Factor on cosines."""
    alpha: torch.Tensor
    beta: torch.Tensor

    def __init__(self, config: PrototypeConfig, parts: Parts) -> None:
        super().__init__(config, parts)
        self.register_buffer("video_ND", torch.zeros(0, 0))
        self.register_buffer("class_N", torch.zeros(0, dtype=torch.long))
        given: dict[str, float | str] = {"scale": config.logit_scale.init}
        if config.cache:
            given |= {"alpha": config.alpha, "beta": config.beta}
        for name, value in given.items():
            number = value if isinstance(value, float) else torch.nan
            self.register_buffer(name, torch.tensor(number))

    @property
    def log_scale(self) -> torch.Tensor | None:
        """That of the prompts beside the cache; class means are not compared with texts."""
        return self.scale.log() if self.config.cache else None

    def start_from_clip(self, factor: Callable[[], float]) -> None:
        """Take over CLIP's factor on cosines, where the config wants it."""
        if self.config.logit_scale.init == "clip":
            self.scale.fill_(factor())

    def embed(self, features_BTD: torch.Tensor) -> torch.Tensor:
        """The mean of unit frames at unit length."""
        unit_BTD = F.normalize(full_precision(features_BTD), dim=-1)
        return F.normalize(unit_BTD.mean(dim=1), dim=-1)

    def fit(self, train: Encoded, val: Encoded | None) -> dict[str, Any]:
        """Keep the class means; or all videos, and choose alpha and beta where they are `val`.

        Returns:
            `loss`, the mean cross-entropy of the training videos, which with the cache find
            themselves in it; with the cache `alpha`, `beta` and, where one of them was chosen,
            `chosen`: the `val_top1` that they had.

        Raises:
            ValueError: a class without a training video.
        """
        video_ND = train["video_BD"]
        class_N = self.learn_classes(self.classes, train["class_ids_B"])
        if self.config.cache:
            self.video_ND, self.class_N = video_ND, class_N
        else:
            num_classes = len(self.classes.names)
            self.video_ND = class_means(video_ND, class_N, num_classes)
            self.class_N = torch.arange(num_classes, device=video_ND.device)
        said = self._chosen(val) if self.config.cache else {}
        known = self._of(self.classes)
        logits = [
            self._logits(part_BD, *known) for part_BD in torch.split(video_ND, VIDEOS_AT_ONCE)
        ]
        return {"loss": float(F.cross_entropy(torch.cat(logits), class_N)), **said}

    def _chosen(self, val: Encoded | None) -> dict[str, Any]:
        """Set alpha and beta; what the report says of them."""
        alpha, beta = self.config.alpha, self.config.beta
        said: dict[str, Any] = {}
        if "val" in (alpha, beta):
            assert val is not None
            prompts_KD, class_NK = self._of(self.classes)
            alpha, beta, accuracy = best_of_grid(
                val["video_BD"],
                self.classes.positions(val["class_ids_B"]),
                self.scale * prompts_KD,
                self.video_ND,
                class_NK,
                ALPHAS if alpha == "val" else (alpha,),
                BETAS if beta == "val" else (beta,),
            )
            said = {"chosen": {"val_top1": accuracy}}
        assert alpha != "val"
        assert beta != "val"
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)
        return {"alpha": alpha, "beta": beta, **said}

    @property
    def primary(self) -> str:
        """The only protocol: `tip_adapter` with the cache, else `prototype`."""
        return "tip_adapter" if self.config.cache else "prototype"

    def logits(self, classes: ClassList) -> Classifier:
        """Those of the class means, or of prompts and cache.

        Raises:
            ValueError: a class that it was not fitted on.
        """
        known = self._of(classes)
        return lambda video_BD: self._logits(video_BD, *known)

    def _of(self, classes: ClassList) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit prompts (K, D) of a list's classes, and 1 where a row is of a class (N, K)."""
        prompts_KD = F.normalize(classes.prompts_KD.to(self.video_ND), dim=-1)
        class_NK = (self.class_N[:, None] == self.learnt(classes)).to(self.video_ND)
        return prompts_KD, class_NK

    def _logits(
        self, video_BD: torch.Tensor, prompts_KD: torch.Tensor, class_NK: torch.Tensor
    ) -> torch.Tensor:
        cosine_BN = video_BD @ self.video_ND.T
        if not self.config.cache:
            return self.scale * cosine_BN @ class_NK
        votes_BK = votes(cosine_BN, class_NK, float(self.beta))
        return self.scale * video_BD @ prompts_KD.T + self.alpha * votes_BK


METHOD = Prototype
