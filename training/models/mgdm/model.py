"""MGDM: videos against their texts and mined hard negatives, under text-guided temporal attention.

Source: Liu et al., "Study on video action recognition based on augment negative example
multi-granularity discrimination model", eq. 4-9 and 13-18. The paper repeats every video 1 + k
times and forms a video embedding for each of the L_b x L_t pairs. Neither is needed: repeated rows
give the same loss, and a video's embedding depends on the guiding text only. `guided_cosines` has
the two cheap forms.

Legend: B videos, T frames, D embedding, M guiding texts, R texts per guide (1 + k: the positive
first, then its negatives), K classes, C texts in one context.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from torch import nn

from training.config.run import RunConfig
from training.data.batch import Batch, Joined
from training.data.class_list import ClassList
from training.data.inputs import TrainInputs
from training.data.negatives import read_negatives
from training.data.video_set import VideoSet
from training.layers.attention import ResidualTransformer
from training.layers.logit_scale import clamp_logit_scale, logit_scale, start_logit_scale
from training.layers.losses import full_precision, symmetric_contrastive
from training.models.method import Classifier, Encoded, Parts, TrainedMethod
from training.models.mgdm.config import Context, MgdmConfig

if TYPE_CHECKING:
    from training.backbone.image_tower import ImageTower


@dataclass(frozen=True, eq=False)
class ClassTexts:
    """The texts a video is classified against."""

    guides_KD: torch.Tensor
    embeddings_KD: torch.Tensor
    """What the discriminator made of them."""


class Mgdm(TrainedMethod):
    """Video representer and semantic discriminator on CLIP features."""

    config: MgdmConfig

    def __init__(
        self, config: MgdmConfig, dim: int, num_frames: int, tower: ImageTower | None = None
    ) -> None:
        """Build it with initial weights from torch's global generator.

        Args:
            config: of the model.
            dim: width D of CLIP's features.
            num_frames: frames T of a clip.
            tower: CLIP's image tower, where clips are pictures.

        Raises:
            ValueError: D is not a multiple of the number of heads.
        """
        super().__init__(tower)
        self.config = config
        self.representer: ResidualTransformer | None = None
        if not config.no_video_representer:
            self.representer = ResidualTransformer(
                dim,
                config.heads,
                config.video_blocks,
                num_frames if config.pos_emb else 0,
                config.pos_emb_std,
            )
        self.discriminator: ResidualTransformer | None = None
        if not config.no_discriminator:
            self.discriminator = ResidualTransformer(dim, config.heads, config.discriminator.blocks)
        self.logit_scale = logit_scale(config.logit_scale)

    @classmethod
    def build(cls, config: MgdmConfig, parts: Parts) -> Self:
        """The model for the parts' width and number of frames."""
        return cls(config, parts.dim, parts.num_frames, parts.tower)

    @classmethod
    def joined(
        cls, config: RunConfig, inputs: TrainInputs, videos: VideoSet, classes: ClassList
    ) -> tuple[Joined, ...]:
        """The positive text of each video, and its mined negatives."""
        return (read_negatives(inputs, config.model, videos, classes),)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters: `new` modules, and those that come from `clip`."""
        clip = [self.logit_scale, *(self.tower.parameters() if self.tower else ())]
        from_clip = {id(p) for p in clip}
        new = [
            p for part in (self.representer, self.discriminator) if part for p in part.parameters()
        ]
        return {
            "new": [p for p in new if p.requires_grad and id(p) not in from_clip],
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
        """Frames with temporal context, texts, their classes and which of them there are.

        Returns:
            `frames_BTD`; `guides_BRD`, raw text features that guide the attention (the positives
            alone for guide=positive); `texts_BRD`, discriminated unless the discriminator sees the
            whole batch; `class_ids_BR`, -1 for a text of no class of the dataset, column 0 the
            video's class; `present_BR`, False where a video has fewer negatives than R - 1.
        """
        raw_BRD, present_BR = batch.columns["texts_BRD"], batch.columns.get("text_present_BR")
        class_ids_BR = batch.columns["text_class_ids_BR"]
        texts_BRD = raw_BRD
        if self.discriminator is not None and self.config.discriminator.scope == "sample":
            texts_BRD = self.discriminator(raw_BRD, None if present_BR is None else ~present_BR)
        if present_BR is None:
            present_BR = torch.ones_like(class_ids_BR, dtype=torch.bool)
        return {
            "frames_BTD": self.represent(self.features(batch.clips)),
            "guides_BRD": raw_BRD if self.config.guide == "own" else raw_BRD[:, :1],
            "texts_BRD": texts_BRD,
            "class_ids_BR": class_ids_BR,
            "present_BR": present_BR,
        }

    def losses(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        """Contrastive losses of a batch (eq. 9), in full precision.

        Returns:
            `video_to_text`, `text_to_video` and their mean `loss`.
        """
        class_ids_BR, present_BR = encoded["class_ids_BR"], encoded["present_BR"]
        sims = self.similarities(encoded).flatten(1)
        positives = (class_ids_BR[None] == class_ids_BR[:, :1, None]).flatten(1)
        if not bool(present_BR.all()):
            columns = present_BR.flatten()
            sims, positives = sims[:, columns], positives[:, columns]
        loss = self.config.loss
        return symmetric_contrastive(sims, positives, loss.target, loss.empty)

    def similarities(self, encoded: Encoded) -> torch.Tensor:
        """Logits of every video with the texts of every video (eq. 4).

        Returns:
            (B, M, R) with M = B; one row per video instead of 1 + k equal ones.
        """
        frames_BTD, guides_BRD, texts_MRD = (
            encoded[name] for name in ("frames_BTD", "guides_BRD", "texts_BRD")
        )
        if self.discriminator is not None and self.config.discriminator.scope == "batch":
            missing = None if bool(encoded["present_BR"].all()) else ~encoded["present_BR"]
            shared_1CD = self.discriminator(
                texts_MRD.flatten(0, 1)[None],
                None if missing is None else missing.flatten()[None],
            )
            texts_MRD = shared_1CD.view_as(texts_MRD)
        if self.config.guide == "own":
            guides_MD, own_M1D = guides_BRD.flatten(0, 1), texts_MRD.flatten(0, 1)[:, None]
            return self._logits(frames_BTD, guides_MD, own_M1D).view(-1, *texts_MRD.shape[:2])
        return self._logits(frames_BTD, guides_BRD[:, 0], texts_MRD)

    @property
    def primary(self) -> str:
        """The config's inference context, if omitted the one whose length is trained."""
        return next(iter(contexts(self.config)))

    def protocols(self, classes: ClassList) -> dict[str, Classifier]:
        """`mgdm/CONTEXT` for each context that differs, the primary first; `mgdm` without any."""
        prompts_KD = classes.prompts_KD.to(self.logit_scale.device)
        return {
            name: self._classifier(self.class_texts(prompts_KD, context))
            for name, context in contexts(self.config).items()
        }

    def _classifier(self, texts: ClassTexts) -> Classifier:
        return lambda features_BTD: self.classify(features_BTD, texts).double().softmax(1)

    def represent(self, features_BTD: torch.Tensor) -> torch.Tensor:
        """Frames with temporal context (eq. 13-14); unchanged without the video representer."""
        return features_BTD if self.representer is None else self.representer(features_BTD)

    def class_texts(self, features_KD: torch.Tensor, context: Context | None = None) -> ClassTexts:
        """The texts of a class list, for `classify`.

        Args:
            features_KD: CLIP features of one prompt per class.
            context: texts the discriminator sees together; the config's when None. `neighbours`
                has the length that training has: a class and its k nearest by cosine.
        """
        context = context or self.config.context
        if self.discriminator is None:
            return ClassTexts(features_KD, features_KD)
        if context == "all":
            embeddings_KD = self.discriminator(features_KD[None])[0]
        elif context == "self":
            embeddings_KD = self.discriminator(features_KD[:, None])[:, 0]
        else:
            contexts_KC = nearest_classes(features_KD, self.config.negatives.k)
            embeddings_KD = self.discriminator(features_KD[contexts_KC])[:, 0]
        return ClassTexts(features_KD, embeddings_KD)

    def classify(self, features_BTD: torch.Tensor, texts: ClassTexts) -> torch.Tensor:
        """(B, K) logits; each class guides the attention itself (k = 0)."""
        frames_BTD = self.represent(features_BTD)
        logits_BKR = self._logits(frames_BTD, texts.guides_KD, texts.embeddings_KD[:, None])
        return logits_BKR[..., 0]

    def embed_clips(self, features: torch.Tensor) -> torch.Tensor:
        """The mean of the frames with temporal context, which no text guides here."""
        return self._compared(full_precision(self.represent(features))).mean(dim=1)

    def embed_videos(self, clips: torch.Tensor, guides_BD: torch.Tensor) -> torch.Tensor:
        """Each video under the guidance of its own class (eq. 15-16), or its mean frame without."""
        frames_BTD = full_precision(self.represent(self.features(clips)))
        return self.guided(frames_BTD, full_precision(guides_BD))

    def guided(self, frames_BTD: torch.Tensor, guides_BD: torch.Tensor) -> torch.Tensor:
        """(B, D): each video under one text, of frames after the video representer."""
        att, frames_BTD = self.config.att, self._compared(frames_BTD)
        if self.config.no_video_representer:
            return frames_BTD.mean(dim=1)
        if att.normalize:
            guides_BD = F.normalize(guides_BD, dim=-1)
        logits_BT = torch.einsum("btd,bd->bt", frames_BTD, guides_BD) / att.temperature
        return torch.einsum("bt,btd->bd", logits_BT.softmax(dim=1), frames_BTD)

    def _compared(self, frames_BTD: torch.Tensor) -> torch.Tensor:
        """Frames of the length with which they enter a video: unit rows where the config says."""
        if self.config.no_video_representer or self.config.att.normalize:
            return F.normalize(frames_BTD, dim=-1)
        return frames_BTD

    def embed_texts(self, features_KD: torch.Tensor) -> torch.Tensor:
        """What the discriminator makes of texts in the config's inference context."""
        return self.class_texts(features_KD).embeddings_KD

    def _logits(
        self, frames_BTD: torch.Tensor, guides_MD: torch.Tensor, texts_MRD: torch.Tensor
    ) -> torch.Tensor:
        with torch.autocast(frames_BTD.device.type, enabled=False):
            frames_BTD = full_precision(frames_BTD)
            texts_MRD = F.normalize(full_precision(texts_MRD), dim=-1)
            if self.config.no_video_representer:
                cosines_BMR = mean_cosines(frames_BTD, texts_MRD, self.config.renorm_video)
            else:
                cosines_BMR = guided_cosines(
                    frames_BTD,
                    full_precision(guides_MD),
                    texts_MRD,
                    normalize=self.config.att.normalize,
                    temperature=self.config.att.temperature,
                    renorm=self.config.renorm_video,
                )
            return self.logit_scale.exp() * cosines_BMR


def contexts(config: MgdmConfig) -> dict[str, Context | None]:
    """Inference contexts that differ for a model, by protocol name; the config's comes first."""
    if config.no_discriminator:
        return {"mgdm": None}
    differing: list[Context] = ["all", "self", *(("neighbours",) if config.negatives.k else ())]
    differing.sort(key=lambda context: context != config.context)
    return {f"mgdm/{context}": context for context in differing}


def guided_cosines(
    frames_BTD: torch.Tensor,
    guides_MD: torch.Tensor,
    texts_MRD: torch.Tensor,
    *,
    normalize: bool,
    temperature: float,
    renorm: bool,
    form: Literal["frames", "videos"] | None = None,
) -> torch.Tensor:
    """<V[b, m], text[m, r]>, where V[b, m] = sum_t att[b, m, t] frame[b, t] (eq. 15-16).

    Two forms with equal results: `videos` forms V (B, M, D), cheapest where a guide has several
    texts; `frames` compares texts with frames first and never forms V, cheapest at R = 1, as at
    test. The literal V (B (1 + k), M R, D) is never built by either.

    Args:
        frames_BTD: frames after the video representer.
        guides_MD: text that guides each V.
        texts_MRD: texts compared with V, unit rows.
        normalize: unit frames and guides first.
        temperature: divides the attention logits.
        renorm: V has unit length.
        form: the one with fewer multiplications when None.
    """
    if normalize:
        frames_BTD = F.normalize(frames_BTD, dim=-1)
        guides_MD = F.normalize(guides_MD, dim=-1)
    B, T, D = frames_BTD.shape
    M, R, _ = texts_MRD.shape
    rows = frames_BTD.reshape(B * T, D)
    att_BTM = torch.softmax((rows @ guides_MD.T).view(B, T, M) / temperature, dim=1)
    if form is None:
        form = "videos" if T * R > T + R else "frames"
    if form == "videos":
        videos_MBD = torch.einsum("btm,btd->mbd", att_BTM, frames_BTD)
        if renorm:
            videos_MBD = F.normalize(videos_MBD, dim=-1)
        return torch.bmm(videos_MBD, texts_MRD.transpose(1, 2)).transpose(0, 1)
    cosines_BTMR = (rows @ texts_MRD.reshape(M * R, D).T).view(B, T, M, R)
    cosines_BMR = torch.einsum("btm,btmr->bmr", att_BTM, cosines_BTMR)
    if renorm:
        gram_BTT = frames_BTD @ frames_BTD.transpose(1, 2)
        squares_BM = (att_BTM * (gram_BTT @ att_BTM)).sum(dim=1)
        cosines_BMR = cosines_BMR / squares_BM.clamp(min=1e-24).sqrt()[..., None]
    return cosines_BMR


def mean_cosines(frames_BTD: torch.Tensor, texts_MRD: torch.Tensor, renorm: bool) -> torch.Tensor:
    """<mean_t frame[b, t], text[m, r]> (B, M, R), without guidance.

    Deviation: frames are unit rows although the paper's ablation says only that the representer is
    removed; the products stay cosines, as everywhere else.
    """
    videos_BD = F.normalize(frames_BTD, dim=-1).mean(dim=1)
    if renorm:
        videos_BD = F.normalize(videos_BD, dim=-1)
    M, R, D = texts_MRD.shape
    return (videos_BD @ texts_MRD.reshape(M * R, D).T).view(-1, M, R)


def nearest_classes(features_KD: torch.Tensor, k: int) -> torch.Tensor:
    """(K, C) each class, then its C - 1 nearest by cosine, C = min(1 + k, K); ties by position."""
    unit_KD = F.normalize(full_precision(features_KD), dim=-1)
    cosines_KK = unit_KD @ unit_KD.T
    cosines_KK.fill_diagonal_(math.inf)
    order_KK = cosines_KK.argsort(dim=1, descending=True, stable=True)
    return order_KK[:, : min(1 + k, len(features_KD))]


METHOD = Mgdm
