"""ActionCLIP's numbers: a recipe per cell, and its ablations on the demo world."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from training.config.data import DataConfig, VisionConfig
from training.config.evaluation import EvalConfig
from training.config.losses import LossConfig
from training.config.optim import OptimConfig
from training.config.run import RunConfig
from training.models.actionclip.config import ActionClipConfig, TextPromptConfig, VideoPromptConfig
from training.models.recipe import Recipe, Table, on_stickworld

_ARCHS = {"b32": "ViT-B-32-quickgelu", "b16": "ViT-B-16-quickgelu"}

_KINETICS: dict[tuple[str, int, str], tuple[float, float, str]] = {
    ("b32", 8, "1x1"): (0.7836, 0.9425, "; re-trained by mmaction2: 77.5 / 93.2"),
    ("b16", 8, "1x1"): (0.8109, 0.9549, "; re-trained by mmaction2: 81.3 / 95.2"),
    ("b16", 16, "1x1"): (0.8168, 0.9587, ""),
    ("b16", 32, "1x1"): (0.8232, 0.9620, ""),
    ("b16", 32, "10x3"): (0.838, 0.971, ""),
}
"""Backbone, frames and views -> top-1, top-5. Source: the README of ActionCLIP's code; 10x3: the
paper."""

_ABLATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "meanp": ({"video": VideoPromptConfig(post="meanP")}, "the mean of the frames"),
    "conv_1d": ({"video": VideoPromptConfig(post="Conv_1D")}, "shift-initialised convolution"),
    "lstm": ({"video": VideoPromptConfig(post="LSTM")}, "LSTM"),
    "transf_cls": ({"video": VideoPromptConfig(post="Transf_cls")}, "class token transformer"),
    "joint": (
        {"video": VideoPromptConfig(pre="joint", post="meanP")},
        "patches of all frames in one sequence, 2.74 points below meanp",
    ),
    "shift": (
        {"video": VideoPromptConfig(within="shift", post="meanP")},
        "channels shifted in time before every block, 5.38 points below meanp",
    ),
    "no_prompt": (
        {"text": TextPromptConfig(templates="none")},
        "class names alone, almost no drop",
    ),
    "prefix": ({"text": TextPromptConfig(templates="prefix")}, "7 templates"),
    "cloze": ({"text": TextPromptConfig(templates="cloze")}, "5 templates"),
    "suffix": ({"text": TextPromptConfig(templates="suffix")}, "3 templates"),
    "vision_only": ({"init": "vision_only"}, "text tower from random weights"),
    "scratch": ({"init": "scratch"}, "both towers from random weights"),
}
"""Variant of B/32 with 8 frames -> what differs, and the difference that is known (from notes on
the paper; its backbone and frames are not stated)."""

SHOTS = (1, 2, 4, 8, 16)


def actionclip_config(
    num_frames: int,
    views: str = "1x1",
    *,
    multilabel: Literal["kl"] | None = None,
    rand_augment: bool = False,
    **changes: Any,
) -> RunConfig:
    """Full fine-tuning as in ActionCLIP's code: both towers at a tenth of the head's rate."""
    text = changes.pop("text", TextPromptConfig()).model_copy(update={"trainable": True})
    loss = LossConfig() if multilabel else LossConfig(target="softmax10")
    return RunConfig(
        data=DataConfig(
            features="videos",
            num_frames=num_frames,
            augmentation="tsn_color",
            rand_augment=rand_augment,
        ),
        model=ActionClipConfig(text=text, loss=loss, multilabel=multilabel, **changes),
        vision=VisionConfig(trainable="all"),
        optim=OptimConfig(betas=(0.9, 0.98), epochs=50, batch_size=128),
        eval=EvalConfig(views=views),
    )


def actionclip_kinetics(backbone: str, num_frames: int, views: str) -> Recipe:
    """A cell on Kinetics-400."""
    top1, top5, also = _KINETICS[backbone, num_frames, views]
    name = f"actionclip_kinetics400_{backbone}_{num_frames}f"
    return Recipe(
        name=name if views == "1x1" else f"{name}_{views}",
        config=actionclip_config(num_frames, views, rand_augment=True),
        about=f"ActionCLIP, {num_frames} frames, {views} views{also}",
        dataset="kinetics400",
        clip=_ARCHS[backbone],
        expected_top1=top1,
        expected_top5=top5,
    )


def actionclip_ablation(variant: str) -> Recipe:
    """One thing changed in B/32 with 8 frames on Kinetics-400."""
    changes, what = _ABLATIONS[variant]
    return Recipe(
        name=f"actionclip_kinetics400_{variant}",
        config=actionclip_config(8, rand_augment=True, **changes),
        about=f"ActionCLIP ablation: {what}",
        dataset="kinetics400",
        clip=_ARCHS["b32"],
    )


def actionclip_transfer(dataset: str, top1: float) -> Recipe:
    """HMDB51 or UCF101, trained on from Kinetics-400 as in the paper; split 1."""
    return Recipe(
        name=f"actionclip_{dataset}",
        config=actionclip_config(32),
        about="ActionCLIP, 32 frames, from its model of Kinetics-400",
        start="actionclip_kinetics400_b16_32f",
        dataset=dataset,
        split="test",
        clip=_ARCHS["b16"],
        expected_top1=top1,
    )


def actionclip_charades() -> Recipe:
    """Several classes per video; the paper gives no details of how it was trained."""
    return Recipe(
        name="actionclip_charades",
        config=actionclip_config(32, multilabel="kl"),
        about="ActionCLIP, 32 frames, video against all classes; the paper's recipe is unreleased",
        dataset="charades",
        split="test",
        clip=_ARCHS["b16"],
        expected_map=0.443,
    )


def actionclip_stickworld(variant: str) -> Recipe:
    """An ablation on the demo world: text tower and head on cached embeddings, minutes on a CPU.

    `joint`, `shift` and the starts from random weights train both towers on videos: hours.
    """
    changes, what = STICKWORLD[variant]
    base = actionclip_config(8, **changes)
    if variant == "text_frozen":
        assert isinstance(base.model, ActionClipConfig)
        text = base.model.text.model_copy(update={"trainable": False})
        base = base.model_copy(update={"model": base.model.model_copy(update={"text": text})})
    if variant.startswith("shots"):
        shots = {"shots": int(variant.removeprefix("shots"))}
        base = base.model_copy(update={"data": base.data.model_copy(update=shots)})
    demo = on_stickworld(Recipe(f"actionclip_stickworld_{variant}", base, about=""))
    return replace(demo, about=f"ActionCLIP on the demo world: {what}")


def actionclip_head_first() -> Recipe:
    """Two stages on the demo world: the head with CLIP frozen, then the text tower too.

    Source: Kumar et al., "Fine-tuning can distort pretrained features", 2022 (LP-FT).
    """
    whole = actionclip_stickworld("transf")
    head = actionclip_stickworld("text_frozen").config
    optim = whole.config.optim.model_copy(update={"epochs": 10, "warmup_epochs": 1})
    return replace(
        whole,
        name="actionclip_stickworld_head_first",
        config=whole.config.model_copy(update={"optim": optim}),
        stages=(head.model_copy(update={"optim": optim}),),
        about="ActionCLIP on the demo world: 10 epochs of the head, then 10 of the text tower too",
    )


STICKWORLD: dict[str, tuple[dict[str, Any], str]] = {
    "transf": ({}, "transformer head, all templates"),
    **_ABLATIONS,
    "text_frozen": ({}, "transformer head, all templates, texts of frozen CLIP"),
    **{f"shots{shots}": ({}, f"{shots} videos per class") for shots in SHOTS},
}


TABLE = Table(
    variants=(
        *("transf", "transf_cls", "lstm", "conv_1d", "meanp"),
        *("no_prompt", "text_frozen"),
        *(f"shots{shots}" for shots in SHOTS),
    ),
    train_per_class=48,
    zero_shot="transf",
)


def recipes() -> list[Recipe]:
    """All of them."""
    return [
        *(actionclip_stickworld(variant) for variant in STICKWORLD),
        actionclip_head_first(),
        *(actionclip_kinetics(*cell) for cell in _KINETICS),
        *(actionclip_ablation(variant) for variant in _ABLATIONS),
        actionclip_transfer("hmdb51", 0.762),
        actionclip_transfer("ucf101", 0.971),
        actionclip_charades(),
    ]
