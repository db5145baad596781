"""What decides the methods: a config per model, told by its `name`. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.models.actionclip.prompts import Family

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Base of all configs: immutable, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AttentionConfig(Settings):
    """Temporal attention of frames under a text's guidance (eq. 15)."""

    normalize: bool = True
    """Unit frames and guides as in BIKE; False is eq. 15 to the letter."""
    temperature: PositiveReal = 0.01
    """Divides the attention logits; 1 is eq. 15 to the letter."""


class DiscriminatorConfig(Settings):
    """Self-attention between a video's positive and negative texts (eq. 17-18)."""

    blocks: PositiveInt = 2
    """Transformer blocks; 2 follows from the parameter count of Table 8."""
    scope: Literal["sample", "batch"] = "sample"
    """One sequence per video (1 + k texts), or one for the whole batch."""


class LossConfig(Settings):
    """Symmetric KL contrastive loss (eq. 9)."""

    target: Literal["exact", "softmax10"] = "exact"
    """Ground truth to distribution: Q / sum(Q), or softmax(10 Q) as ActionCLIP's code has it."""
    empty: Literal["mask", "uniform"] = "mask"
    """Texts without a video in the batch: left out, or pulled towards a uniform distribution."""


class LogitScaleConfig(Settings):
    """Factor on cosines, exp of a parameter."""

    init: Literal["clip"] | Annotated[float, Field(gt=0, le=100)] = "clip"
    """Start: that of the CLIP checkpoint (100 in all of OpenAI's), or a number."""
    learnable: bool = True
    """Trained with CLIP's learning rate and kept at or below 100."""


class NegativesConfig(Settings):
    """Which mined texts join the loss."""

    k: Annotated[int, Field(ge=0)] = 7
    """Hard negatives per video."""
    slice: tuple[int, int] | None = None
    """Ranks [start, stop) from 0, instead of the first k; [6, 9) is the paper's `3 (bot)`."""
    corpus: Literal["dataset", "union"] = "dataset"
    """Only classes of the dataset, or every text that was mined."""

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


class MgdmConfig(Settings):
    """Multi-granularity discrimination model (MGDM), its equations 4-9 and 13-18."""

    name: Literal["mgdm"] = "mgdm"
    video_blocks: PositiveInt = 6
    """Temporal transformer blocks; 6 follows from the parameter count of Table 8."""
    heads: PositiveInt | None = None
    """Attention heads of all blocks; D / 64 when None."""
    pos_emb: bool = True
    """Add a learned embedding of the frame's position; eq. 13 does not mention it."""
    pos_emb_std: PositiveReal = 0.02
    """Its initial standard deviation. Where CLIP's features are long and training is short, 0.02
    is too faint for the order of frames to be learnt."""
    att: AttentionConfig = AttentionConfig()
    guide: Literal["positive", "own"] = "positive"
    """Text that guides the attention when a negative is scored in training: its video's positive
    (paper), or the negative itself (as at test)."""
    renorm_video: bool = False
    """Bring the attended video embedding to unit length."""
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    inference_context: Literal["all", "self", "neighbours"] = "all"
    """Texts the discriminator sees together at test: all classes, each alone, or each with its k
    nearest classes. Evaluation reports all three; this one selects `val_top1`."""
    no_video_representer: bool = False
    """Ablation: the mean of the frames instead."""
    no_discriminator: bool = False
    """Ablation: the frozen text embeddings instead."""
    negatives: NegativesConfig = NegativesConfig()
    loss: LossConfig = LossConfig()
    logit_scale: LogitScaleConfig = LogitScaleConfig()

    def without_effect(self) -> Iterator[tuple[str, str]]:
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


class TextPromptConfig(Settings):
    """ActionCLIP's texts: class names put into sentences."""

    templates: Family = "all"
    """Sentences in use (see `prompts`); `none` is the class name alone, "text prompt off"."""
    trainable: bool = False
    """Train CLIP's text tower; else texts are embedded once, by frozen CLIP."""


class VideoPromptConfig(Settings):
    """ActionCLIP's three places for time: before, within and behind CLIP's image tower."""

    pre: Literal["none", "joint"] = "none"
    """`joint`: the patches of all frames, with an embedding of their time, are one sequence."""
    within: Literal["none", "shift"] = "none"
    """`shift`: before every block an eighth of the patches' channels comes from the next frame,
    another from the one before (TSM)."""
    post: Literal["meanP", "Conv_1D", "LSTM", "Transf", "Transf_cls"] = "Transf"
    """From the frames' features to the clip's: mean, shift-initialised convolution, LSTM,
    transformer, or transformer with class token."""
    layers: PositiveInt = 6
    """Blocks of both transformers."""
    heads: PositiveInt | None = None
    """Their attention heads; when None D / 64 for `Transf` and 8 for `Transf_cls`."""
    pos_emb_std: PositiveReal = 0.02
    """Initial standard deviation of their embedding of the frame's position. Where CLIP's features
    are long and training is short, 0.02 is too faint for the order of frames to be learnt."""

    @model_validator(mode="after")
    def _one_feature_per_clip(self) -> Self:
        if self.pre == "joint" and self.within == "shift":
            raise ValueError(
                "model.video.pre=joint makes one sequence of all frames, in which "
                "model.video.within=shift has no frames to shift between; choose one of them"
            )
        if self.pre == "joint" and self.post != "meanP":
            raise ValueError(
                f"model.video.pre=joint gives one feature per clip, which model.video.post="
                f"{self.post} has nothing to make of; set model.video.post=meanP"
            )
        return self


class ActionClipConfig(Settings):
    """ActionCLIP: matching of videos with texts of their classes, all of CLIP fine-tuned or not."""

    name: Literal["actionclip"] = "actionclip"
    text: TextPromptConfig = TextPromptConfig()
    video: VideoPromptConfig = VideoPromptConfig()
    init: Literal["clip", "vision_only", "scratch"] = "clip"
    """Towers that start from CLIP's weights: both, the image tower, or none."""
    multilabel: Literal["kl", "bce"] | None = None
    """Videos with several classes: compare a video with all classes, by KL towards y / sum(y) or by
    a binary decision per class. None: every video has one class, texts of the batch are compared.
    """
    bias_init: float = Field(-25.0, allow_inf_nan=False)
    """Start of the learnt bias on logits for `bce`: CLIP's cosines of fitting pairs are about 0.25,
    which 100 brings to 25."""
    loss: LossConfig = LossConfig()
    logit_scale: LogitScaleConfig = LogitScaleConfig()

    @model_validator(mode="after")
    def _random_towers_are_trained(self) -> Self:
        if self.init != "clip" and not self.text.trainable:
            raise ValueError(
                f"model.init={self.init} starts the text tower from random weights, which must be "
                "trained; set model.text.trainable=true"
            )
        return self

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """Settings that change nothing in this combination, and why."""
        if self.video.post not in ("Transf", "Transf_cls"):
            for name in ("layers", "heads", "pos_emb_std"):
                yield f"model.video.{name}", f"model.video.post is {self.video.post}"
        if self.multilabel is None:
            yield "model.loss.empty", "every text has its own video in the batch"
        if self.multilabel == "bce":
            for name in ("target", "empty"):
                yield f"model.loss.{name}", "model.multilabel is bce"
        else:
            yield "model.bias_init", "only model.multilabel=bce has a bias"


ModelConfig = Annotated[MgdmConfig | ActionClipConfig, Field(discriminator="name")]
"""Any of them; its `name` says which."""
