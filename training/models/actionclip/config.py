"""What decides ActionCLIP; nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen
from training.config.data import DataConfig, VisionConfig
from training.config.losses import LogitScaleConfig, LossConfig
from training.config.method import MethodConfig, TowersConfig
from training.config.settings import PositiveInt, PositiveReal
from training.models.actionclip.prompts import TEMPLATES, Family, family_templates


class TextPromptConfig(Frozen):
    """ActionCLIP's texts: class names put into sentences."""

    templates: Family = "all"
    """Sentences in use (see `prompts`); `none` is the class name alone, "text prompt off"."""
    trainable: bool = False
    """Train CLIP's text tower; else texts are embedded once, by frozen CLIP."""


class VideoPromptConfig(Frozen):
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


class ActionClipConfig(MethodConfig):
    """ActionCLIP: matching of videos with texts of their classes, all of CLIP fine-tuned or not."""

    name: Literal["actionclip"] = "actionclip"
    """The method."""
    text: TextPromptConfig = TextPromptConfig()
    """Prompts and text tower."""
    video: VideoPromptConfig = VideoPromptConfig()
    """Time in the video."""
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
    """What is minimised."""
    logit_scale: LogitScaleConfig = LogitScaleConfig()
    """Factor on cosines."""

    @model_validator(mode="after")
    def _random_towers_are_trained(self) -> Self:
        if self.init != "clip" and not self.text.trainable:
            raise ValueError(
                f"model.init={self.init} starts the text tower from random weights, which must be "
                "trained; set model.text.trainable=true"
            )
        return self

    @property
    def task(self) -> str:
        """Several labels per video where `multilabel` says so."""
        return "single_label" if self.multilabel is None else "multi_label"

    def templates(self) -> tuple[str, ...]:
        """Those of its family, where frozen CLIP embeds them."""
        return () if self.text.trainable else family_templates(self.text.templates)

    def all_templates(self) -> tuple[str, ...]:
        """Those of every family."""
        return () if self.text.trainable else TEMPLATES

    def needs(self, need: str, what: str) -> str:
        """Which setting asks for templates, CLIP or time in the image tower."""
        if need == "templates":
            return f"model.text.templates needs {what} under {len(self.templates())} templates"
        if need == "clip":
            return f"model.text.trainable=true needs {what}"
        if need == "time":
            return f"model.video.pre and model.video.within need {what}"
        return super().needs(need, what)

    def without(self, need: str) -> str:
        """How to do without a role, CLIP, its factor, time in its tower or one class per video."""
        settings = {
            "templates": "set model.text.trainable",
            "clip": "set model.text.trainable=false",
            "logit_scale": "set model.logit_scale.init=100",
            "time": "set both to none",
            "single_label": "set model.multilabel=kl",
        }
        return settings.get(need) or super().without(need)

    def towers(self, data: DataConfig) -> TowersConfig:
        """The image tower for videos, with time before or within it; the text tower if trained."""
        time = "shift" if self.video.within == "shift" else self.video.pre
        return TowersConfig(data.features == "videos", time, self.text.trainable, self.init)

    @property
    def trains_clip(self) -> bool:
        """Whether the logit scale or the text tower is trained."""
        return self.logit_scale.learnable or self.text.trainable

    def from_clip(self) -> Self:
        """Both towers start from CLIP's weights."""
        return self.model_copy(update={"init": "clip"})

    def at_demo_scale(self) -> Self:
        """Position embeddings that start as long as the features they are added to."""
        if self.video.post not in ("Transf", "Transf_cls"):
            return self
        video = self.video.model_copy(update={"pos_emb_std": 1.0})
        return self.model_copy(update={"video": video})

    def conflicts(self, data: DataConfig, vision: VisionConfig) -> Iterator[str]:
        """Random weights that nothing would train."""
        yield from super().conflicts(data, vision)
        if self.init == "scratch" and vision.trainable != "all":
            yield (
                "model.init=scratch starts the image tower from random weights, which must be "
                "trained; set data.features=videos and vision.trainable=all"
            )

    def without_effect(self, data: DataConfig) -> Iterator[tuple[str, str]]:
        """Settings that change nothing in this combination, and why."""
        if data.features == "cached":
            for name in ("init", "video.pre", "video.within"):
                yield f"model.{name}", "data.features is cached, so the image tower is not run"
        if self.video.post not in ("Transf", "Transf_cls"):
            for name in ("layers", "heads", "pos_emb_std"):
                yield f"model.video.{name}", f"model.video.post is {self.video.post}"
        if data.num_frames == 1:
            for name in ("pre", "within"):
                yield f"model.video.{name}", "data.num_frames is 1, so there is no other frame"
            if self.video.post == "Transf":
                yield "model.video.heads", "data.num_frames is 1, so a frame sees no other one"
        if self.multilabel is None:
            yield "model.loss.empty", "every text has its own video in the batch"
        if self.multilabel == "bce":
            for name in ("target", "empty"):
                yield f"model.loss.{name}", "model.multilabel is bce"
        else:
            yield "model.bias_init", "only model.multilabel=bce has a bias"


CONFIG = ActionClipConfig
