"""ActionCLIP: a video and the texts of its class, matched in CLIP's space.

Source: Wang et al., "ActionCLIP: A new paradigm for video action recognition", and its code. The
places for time within CLIP are in `training.backbone.image_tower`, the heads in
`training.models.actionclip.heads`, the texts in `training.models.actionclip.prompts`. Deviations:
one logit scale in training and test (their code tests with 100); classes of one name in a batch are
positives of each other in both directions; several classes per video, which the paper mentions and
its code does not hold, are compared with all classes at once.

Legend: B videos, T frames, D embedding, K classes, P templates, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import torch
import torch.nn.functional as F
from torch import nn

from training.data.batch import Batch
from training.data.class_list import ClassList
from training.layers.logit_scale import clamp_logit_scale, logit_scale, start_logit_scale
from training.layers.losses import full_precision, soft_contrastive, symmetric_contrastive
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.heads import temporal_head
from training.models.actionclip.prompts import family_templates, fill
from training.models.method import Classifier, Encoded, Parts, TrainedMethod

if TYPE_CHECKING:
    from training.backbone.image_tower import ImageTower
    from training.backbone.text_tower import TextTower


class ActionClip(TrainedMethod):
    """Both towers of CLIP, trained or not, with prompts for time and for class names."""

    config: ActionClipConfig

    def __init__(
        self,
        config: ActionClipConfig,
        dim: int,
        num_frames: int,
        classes: ClassList,
        tower: ImageTower | None = None,
        texts: TextTower | None = None,
    ) -> None:
        """Build it with initial weights from torch's global generator.

        Args:
            config: of the model.
            dim: width D of CLIP's features.
            num_frames: frames T of a clip.
            classes: what it is trained on; its texts, or their tokens, are kept.
            tower: CLIP's image tower, where clips are pictures.
            texts: CLIP's text tower, where that is trained.

        Raises:
            ValueError: D is not a multiple of the number of heads, or a text is too long.
        """
        super().__init__(tower, texts)
        assert (texts is not None) == config.text.trainable
        self.config = config
        self.head = temporal_head(config.video, dim, num_frames)
        self.logit_scale = logit_scale(config.logit_scale)
        self.logit_bias = (
            nn.Parameter(torch.tensor(config.bias_init)) if config.multilabel == "bce" else None
        )
        self.class_ids_K: torch.Tensor
        self.texts_KP: torch.Tensor
        self.register_buffer("class_ids_K", torch.tensor(classes.class_ids), persistent=False)
        self.register_buffer("texts_KP", self._texts_of(classes), persistent=False)

    @classmethod
    def build(cls, config: ActionClipConfig, parts: Parts) -> Self:
        """The model for the parts' classes."""
        return cls(config, parts.dim, parts.num_frames, parts.classes, parts.tower, parts.texts)

    @property
    def primary(self) -> str:
        """The only protocol."""
        return "actionclip"

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters: `new` modules, and those that come from `clip`."""
        clip: list[nn.Parameter] = [self.logit_scale]
        new = list(self.head.parameters())
        if self.logit_bias is not None:
            new.append(self.logit_bias)
        if self.texts is not None:
            clip += self.texts.parameters()
        if self.tower is not None:
            clip += self.tower.visual.parameters()
            new += [] if self.tower.time is None else [self.tower.time]
        return {
            "new": [p for p in new if p.requires_grad],
            "clip": [p for p in clip if p.requires_grad],
        }

    @property
    def log_scale(self) -> torch.Tensor:
        """The parameter, which starts as CLIP's."""
        return self.logit_scale

    def start_from_clip(self, factor: Callable[[], float]) -> None:
        """Take over CLIP's factor on cosines, where the config wants it."""
        start_logit_scale(self.logit_scale, self.config.logit_scale, factor)

    def after_step(self) -> None:
        """Keep the logit scale at or below 100, as CLIP does."""
        clamp_logit_scale(self.logit_scale)

    def encode(self, batch: Batch) -> Encoded:
        """Clips, and the text of each clip's class under the template drawn for it.

        Returns:
            `video_BD`, not normalised; `draws_B`, the random numbers that chose the templates; for
            one class per video `texts_BD` and `class_ids_B`, for several `labels_BK`.
        """
        assert batch.draws_B is not None
        encoded = {"video_BD": self.head(self.features(batch.clips)), "draws_B": batch.draws_B}
        if self.config.multilabel is not None:
            return encoded | {"labels_BK": batch.columns["labels_BK"]}
        position_B = torch.searchsorted(self.class_ids_K, batch.class_ids_B)
        texts_BD = self.texts_KP[position_B, batch.draws_B % self.texts_KP.shape[1]]
        if self.texts is not None:
            texts_BD = self.texts(texts_BD)
        return encoded | {"texts_BD": texts_BD, "class_ids_B": batch.class_ids_B}

    def losses(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        """Losses of a batch, in full precision.

        Returns:
            `loss`; with one class per video also the `video_to_text` and `text_to_video` that it
            is the mean of.
        """
        if self.config.multilabel is not None:
            return {"loss": self._multilabel_loss(encoded)}
        logits_BB = self._logits(encoded["video_BD"], encoded["texts_BD"])
        class_ids_B = encoded["class_ids_B"]
        positives_BB = class_ids_B[:, None] == class_ids_B
        return symmetric_contrastive(logits_BB, positives_BB, self.config.loss.target)

    def protocols(self, classes: ClassList) -> dict[str, Classifier]:
        """`actionclip`: mean over the templates of the class probabilities under each.

        The classes may be others than those of training. Several classes per video under `bce`
        have probabilities of their own, else they share 1.
        """
        texts_KP = self._texts_of(classes).to(self.logit_scale.device)
        if self.texts is not None:
            K, P, _ = texts_KP.shape
            texts_KP = self.texts.embed(texts_KP.flatten(0, 1)).view(K, P, -1)
        texts_PKD = texts_KP.transpose(0, 1)

        def classify(features_BTD: torch.Tensor) -> torch.Tensor:
            video_BD = self.head(features_BTD)
            each = [self._probabilities(self._logits(video_BD, texts)) for texts in texts_PKD]
            return torch.stack(each).mean(dim=0)

        return {"actionclip": classify}

    def embed_clips(self, features: torch.Tensor) -> torch.Tensor:
        """What the head makes of the frames."""
        return full_precision(self.head(features))

    def _probabilities(self, logits_BK: torch.Tensor) -> torch.Tensor:
        if self.logit_bias is not None:
            return torch.sigmoid(logits_BK.double() + self.logit_bias)
        return logits_BK.double().softmax(dim=1)

    def _multilabel_loss(self, encoded: Encoded) -> torch.Tensor:
        """Videos against all classes, each class under a template drawn for this batch.

        The template follows from the sum of the clips' draws, so it depends neither on the order of
        the batch nor on where its parts were encoded.
        """
        K, P = self.texts_KP.shape[:2]
        first = encoded["draws_B"].remainder(P).sum()
        classes_K = torch.arange(K, device=first.device)
        texts_KD = self.texts_KP[classes_K, (first + classes_K) % P]
        if self.texts is not None:
            kind = first.device.type
            with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
                texts_KD = self.texts(texts_KD)
        logits_BK = self._logits(encoded["video_BD"], texts_KD)
        labels_BK = encoded["labels_BK"]
        if self.logit_bias is None:
            loss = self.config.loss
            return soft_contrastive(logits_BK, labels_BK, loss.target, loss.empty)
        return F.binary_cross_entropy_with_logits(
            logits_BK + self.logit_bias, labels_BK.to(logits_BK.dtype)
        )

    def _logits(self, video_BD: torch.Tensor, texts_ND: torch.Tensor) -> torch.Tensor:
        """Scaled cosines (B, N) in full precision."""
        with torch.autocast(video_BD.device.type, enabled=False):
            video_BD = F.normalize(full_precision(video_BD), dim=-1)
            texts_ND = F.normalize(full_precision(texts_ND), dim=-1)
            return self.logit_scale.exp() * video_BD @ texts_ND.T

    def _texts_of(self, classes: ClassList) -> torch.Tensor:
        """Features (K, P, D) of the classes under the templates, or their tokens (K, P, L)."""
        if self.texts is None:
            assert classes.templates_KPD is not None
            return classes.templates_KPD
        templates = family_templates(self.config.text.templates)
        texts = [fill(template, name) for name in classes.prompt_names for template in templates]
        return self.texts.tokenize(texts).view(len(classes.class_ids), len(templates), -1)


METHOD = ActionClip
