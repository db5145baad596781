"""What decides a training run. Nothing here needs torch.

A setting that would have no effect in the chosen combination is an error, so a stored config never
claims something that did not happen.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveReal = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Base of all configs: immutable, unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Settings):
    """What a clip is."""

    features: Literal["cached", "videos"] = "cached"
    """Train on `frame_embeddings` of the frozen CLIP, or decode and encode videos at every step."""
    num_frames: PositiveInt = 16
    """Frames T per clip."""
    test_offset: Literal["center", "start"] = "center"
    """Frame of each segment at test; `start` is BIKE's way. Cached embeddings must be made so."""
    augmentation: Literal["none", "rrc_gray"] = "none"
    """Pictures in training: the centre crop, or random resized crop, flip and grey. The frame of
    each segment is random in both."""
    flip: bool = True
    """Mirror half of the clips; switch off where left and right are different actions (SSv2)."""
    short_side: PositiveInt = 256
    """Short side in pixels before cropping."""
    normalize: Literal["clip", "imagenet"] = "clip"
    """Pixel statistics."""
    max_unreadable: Fraction = 0.2
    """Largest share of a split's videos that may be unusable; with more, the run is refused."""


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


class VisionConfig(Settings):
    """CLIP's image tower, when clips come from videos."""

    trainable: Literal["none", "last_n", "all"] = "none"
    """Nothing, the last blocks with what follows them, or everything."""
    last_n: PositiveInt = 1
    """Blocks for `last_n`."""


class OptimConfig(Settings):
    """AdamW with linear warm-up and cosine decay to 0, per step."""

    lr: PositiveReal = 5e-5
    """Peak learning rate of new modules."""
    clip_lr_ratio: Fraction = 0.1
    """CLIP's learning rate (image tower, logit scale) over `lr`. Source: BIKE."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    epochs: PositiveInt = 20
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    batch_size: PositiveInt = 256
    """Clips per step; in-batch negatives come from these."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.warmup_epochs} must be less than "
                f"optim.epochs={self.epochs}"
            )
        return self


class EvalConfig(Settings):
    """Validation during training; it selects nothing, the last epoch is kept."""

    every: Annotated[int, Field(ge=0)] = 1
    """Epochs between passes over the `val` split; 0: never."""
    batch_size: PositiveInt = 256
    """Clips per forward pass."""


class RunConfig(Settings):
    """A training run, resolved: stored with it and part of its key."""

    data: DataConfig = DataConfig()
    model: MgdmConfig = MgdmConfig()
    vision: VisionConfig = VisionConfig()
    optim: OptimConfig = OptimConfig()
    eval: EvalConfig = EvalConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides initial weights, the order of clips and every random draw."""

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        for setting, why in _without_effect(self):
            value, default = _lookup(self, setting), _lookup(defaults, setting)
            if value != default:
                raise ValueError(
                    f"{setting}={_plain(value)} has no effect: {why}; leave it at {_plain(default)}"
                )
        return self


def override(config: RunConfig, settings: Iterable[str]) -> RunConfig:
    """`config` with settings such as `model.negatives.k=3` replaced.

    Values are JSON (`3`, `true`, `[6, 9]`, `null`), anything else is text.

    Raises:
        ValueError: not of the form key=value, an unknown key (the nearest are named), a value that
            does not fit, or a setting without effect.
    """
    values = config.model_dump(mode="json")
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"{setting!r} is not a setting; write key=value, e.g. optim.epochs=5")
        key = key.strip()
        known = dict(_flatten(values))
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
            near += [item for item in known if item.rsplit(".")[-1] == key and item not in near]
            raise ValueError(
                f"unknown setting {key!r}; "
                + (f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}")
            )
        *path, last = key.split(".")
        section = values
        for name in path:
            section = section[name]
        section[last] = _parse(text.strip())
    return parse(values)


def parse(values: dict[str, Any]) -> RunConfig:
    """A config from plain values, e.g. those stored with a run.

    Raises:
        ValueError: the first thing wrong with it, in one line.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ValueError(_first_error(error)) from error


def _first_error(error: ValidationError) -> str:
    """One line; the alternatives of a union count as one error."""
    known = set(dict(_flatten(RunConfig().model_dump())))
    messages: dict[str, list[str]] = {}
    for item in error.errors():
        if item["type"] == "value_error":
            return item["msg"].removeprefix("Value error, ")
        names = [str(part) for part in item["loc"]]
        while names[:-1] and ".".join(names) not in known and item["type"] != "extra_forbidden":
            names.pop()
        where = f"{'.'.join(names)}={_plain(item['input'])}"
        messages.setdefault(where, []).append(item["msg"])
    where, parts = next(iter(messages.items()))
    return f"{where}: {' or '.join(parts)}"


def _without_effect(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Settings that change nothing in this combination, and why."""
    model, data, vision = config.model, config.data, config.vision
    if data.features == "cached":
        for name in ("augmentation", "flip", "short_side", "normalize"):
            yield f"data.{name}", "data.features is cached, so no picture is read"
        for name in ("trainable", "last_n"):
            yield f"vision.{name}", "data.features is cached, so the image tower is not run"
    if data.augmentation == "none":
        yield "data.flip", "data.augmentation is none"
    if vision.trainable != "last_n":
        yield "vision.last_n", f"vision.trainable is {vision.trainable}"
    if vision.trainable == "none" and not model.logit_scale.learnable:
        yield "optim.clip_lr_ratio", "no parameter of CLIP is trained"
    yield from _mgdm_without_effect(model)


def _mgdm_without_effect(model: MgdmConfig) -> Iterator[tuple[str, str]]:
    if model.no_video_representer:
        representer = ("video_blocks", "pos_emb", "pos_emb_std")
        for name in (*representer, "guide", "att.normalize", "att.temperature"):
            yield f"model.{name}", "model.no_video_representer takes the mean of the frames"
    if not model.pos_emb:
        yield "model.pos_emb_std", "model.pos_emb is off"
    if model.no_discriminator:
        for name in ("discriminator.blocks", "discriminator.scope", "inference_context"):
            yield f"model.{name}", "model.no_discriminator takes the text embeddings as they are"
    if model.no_video_representer and model.no_discriminator:
        yield "model.heads", "there is no block left that has heads"
    if model.negatives.k == 0:
        why = "model.negatives.k is 0"
        yield "model.guide", f"{why}, so every text is a positive"
        yield "model.negatives.corpus", why
        yield "model.loss.empty", f"{why}, so every text has its own video in the batch"
        if model.inference_context == "neighbours":
            yield "model.inference_context", f"{why}, so a class has no neighbours: that is `self`"


def _lookup(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name] if isinstance(values, dict) else getattr(values, name)
    return values


def _flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parse(text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return text if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
