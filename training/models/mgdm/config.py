"""What decides MGDM; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from artifacts.frozen import Frozen
from training.config.data import DataConfig
from training.config.losses import LogitScaleConfig, LossConfig
from training.config.method import MethodConfig
from training.config.negatives import NegativesConfig
from training.config.settings import PositiveInt, PositiveReal

Context = Literal["all", "self", "neighbours"]
"""Texts that the discriminator sees together at test."""


class AttentionConfig(Frozen):
    """Temporal attention of frames under a text's guidance (eq. 15)."""

    normalize: bool = True
    """Unit frames and guides as in BIKE; False is eq. 15 to the letter."""
    temperature: PositiveReal = 0.01
    """Divides the attention logits; 1 is eq. 15 to the letter."""


class DiscriminatorConfig(Frozen):
    """Self-attention between a video's positive and negative texts (eq. 17-18)."""

    blocks: PositiveInt = 2
    """Transformer blocks; 2 follows from the parameter count of Table 8."""
    scope: Literal["sample", "batch"] = "sample"
    """One sequence per video (1 + k texts), or one for the whole batch."""


class MgdmConfig(MethodConfig):
    """Multi-granularity discrimination model (MGDM), its equations 4-9 and 13-18."""

    name: Literal["mgdm"] = "mgdm"
    """The method."""
    video_blocks: PositiveInt = 6
    """Temporal transformer blocks; 6 follows from the parameter count of Table 8."""
    heads: PositiveInt | None = None
    """Attention heads of all blocks; if omitted D / 64."""
    pos_emb: bool = True
    """Add a learned embedding of the frame's position; eq. 13 does not mention it."""
    pos_emb_std: PositiveReal = 0.02
    """Its initial standard deviation. Where CLIP's features are long and training is short, 0.02
    is too faint for the order of frames to be learnt."""
    att: AttentionConfig = AttentionConfig()
    """Attention of frames under a text."""
    guide: Literal["positive", "own"] = "positive"
    """Text that guides the attention when a negative is scored in training: its video's positive
    (paper), or the negative itself (as at test)."""
    renorm_video: bool = False
    """Bring the attended video embedding to unit length."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    """Texts that see each other."""
    inference_context: Context | None = None
    """Texts the discriminator sees together at test: all classes, each alone, or each with its k
    nearest classes. Evaluation reports all three; this one selects `val_top1`. If omitted the one
    whose length is trained: `neighbours`, at k = 0 `self`; `all` with discriminator.scope=batch.
    """
    no_video_representer: bool = False
    """Ablation: the mean of the frames instead."""
    no_discriminator: bool = False
    """Ablation: the frozen text embeddings instead."""
    negatives: NegativesConfig = NegativesConfig()
    """Hard negatives that are trained with."""
    loss: LossConfig = LossConfig()
    """What is minimised."""
    logit_scale: LogitScaleConfig = LogitScaleConfig()
    """Factor on cosines."""

    @property
    def context(self) -> Context:
        """`inference_context`; if omitted the one with as many texts as a sequence of training.

        With 1 + k texts a video that is each class with its k nearest, not all classes: there a
        model that was trained on few texts meets a length it has never seen.
        """
        if self.inference_context is not None:
            return self.inference_context
        if self.discriminator.scope == "batch":
            return "all"
        return "neighbours" if self.negatives.k else "self"

    @property
    def mined(self) -> NegativesConfig:
        """Its hard negatives."""
        return self.negatives

    def without(self, need: str) -> str:
        """How to do without a role, CLIP's factor or other texts as context."""
        settings = {
            "logit_scale": "set model.logit_scale.init=100",
            "context": (
                "mine with a run that sees each alone, such as one of model.inference_context=self"
            ),
        }
        return settings.get(need) or super().without(need)

    @property
    def trains_clip(self) -> bool:
        """Whether the logit scale is trained."""
        return self.logit_scale.learnable

    def at_demo_scale(self) -> Self:
        """Position embeddings that start as long as the features they are added to."""
        used = self.pos_emb and not self.no_video_representer
        return self.model_copy(update={"pos_emb_std": 1.0}) if used else self

    @property
    def why_not_mined(self) -> str | None:
        """A video needs one embedding for all texts."""
        if self.guide == "own":
            return (
                "model.guide is own: its video embedding is another one for each text; mine with a "
                "run of model.guide=positive"
            )
        return None

    @property
    def texts_see_each_other(self) -> bool:
        """Whether the discriminator sees several classes together at test."""
        return not (self.no_discriminator or self.context == "self")

    def without_effect(self, data: DataConfig) -> Iterator[tuple[str, str]]:
        """Settings that change nothing in this combination, and why."""
        if self.no_video_representer:
            representer = ("video_blocks", "pos_emb", "pos_emb_std")
            for name in (*representer, "guide", "att.normalize", "att.temperature"):
                yield f"model.{name}", "model.no_video_representer takes the mean of the frames"
        if not self.pos_emb:
            yield "model.pos_emb_std", "model.pos_emb is off"
        if self.no_discriminator:
            for name in ("discriminator.blocks", "discriminator.scope", "inference_context"):
                yield (
                    f"model.{name}",
                    "model.no_discriminator takes the text embeddings as they are",
                )
        if self.no_video_representer and self.no_discriminator:
            yield "model.heads", "there is no block left that has heads"
        if data.num_frames == 1:
            yield from self._without_time()
        if self.negatives.k == 0:
            why = "model.negatives.k is 0"
            yield "model.guide", f"{why}, so every text is a positive"
            yield "model.negatives.corpus", why
            yield "model.loss.empty", f"{why}, so every text has its own video in the batch"
            if self.inference_context == "neighbours":
                yield (
                    "model.inference_context",
                    f"{why}, so a class has no neighbours: that is `self`",
                )

    def _without_time(self) -> Iterator[tuple[str, str]]:
        """What only weighs frames against each other, or brings a unit frame to unit length."""
        why = "data.num_frames is 1, and a video is its only frame"
        for name in ("guide", "att.temperature"):
            yield f"model.{name}", why
        if self.att.normalize or self.no_video_representer:
            yield "model.renorm_video", f"{why}, which has unit length"
        if self.no_discriminator:
            yield "model.heads", f"{why}, which sees no other one"


CONFIG = MgdmConfig
