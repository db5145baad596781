"""What decides a training run. Nothing here needs torch.

A setting that would have no effect in the chosen combination is an error, so a stored config never
claims something that did not happen.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from training.config.method import (
    ActionClipConfig,
    Fraction,
    MgdmConfig,
    ModelConfig,
    NegativesConfig,
    PositiveInt,
    PositiveReal,
    Settings,
)

Augmentation = Literal["none", "rrc_gray", "tsn_color", "tsn_multiscale", "msq", "fsar"]


class DataConfig(Settings):
    """What a clip is."""

    features: Literal["cached", "videos"] = "cached"
    """Train on `frame_embeddings` of the frozen CLIP, or decode and encode videos at every step."""
    num_frames: PositiveInt = 16
    """Frames T per clip."""
    test_offset: Literal["center", "start"] = "center"
    """Frame of each segment at test; `start` is BIKE's way. Cached embeddings must be made so."""
    augmentation: Augmentation = "none"
    """Pictures in training: the centre crop, or a preset of `training.data.augmentation`. The frame
    of each segment is random in all but `msq`, which takes those of the test."""
    flip: bool = True
    """Mirror half of the clips; switch off where left and right are different actions (SSv2)."""
    rand_augment: bool = False
    """RandAugment(2, 9) before `tsn_color`; ActionCLIP does so on Kinetics only."""
    short_side: PositiveInt = 256
    """Short side in pixels before cropping; for `fsar` in training of both sides. Where a test
    video is seen in several crops, its short side is CLIP's picture size instead."""
    normalize: Literal["clip", "imagenet"] = "clip"
    """Pixel statistics."""
    shots: PositiveInt | None = None
    """Train on this many videos of each class, drawn by `seed`: a draw of fewer shots is part of
    one of more. None: on all."""
    max_unreadable: Fraction = 0.2
    """Largest share of a split's videos that may be unusable; with more, the run is refused."""


class VisionConfig(Settings):
    """CLIP's image tower, when clips come from videos."""

    trainable: Literal["none", "last_n", "all"] = "none"
    """Nothing, the last blocks with what follows them, or everything."""
    last_n: PositiveInt = 1
    """Blocks for `last_n`."""


class OptimConfig(Settings):
    """Optimiser, its schedule per step, and what a step consists of."""

    optimizer: Literal["adamw", "adam"] = "adamw"
    """`adam` has the weight decay in the gradient."""
    lr: PositiveReal = 5e-5
    """Peak learning rate of new modules."""
    clip_lr_ratio: Fraction = 0.1
    """CLIP's learning rate (towers, logit scale) over `lr`. Source: BIKE."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.999,
    )
    eps: PositiveReal = 1e-8
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    """On every trained parameter, as the peers have it."""
    epochs: PositiveInt = 20
    schedule: Literal["cosine", "constant", "step"] = "cosine"
    """After a linear warm-up: half a cosine to 0, constant, or times `gamma` at milestones."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    milestones: tuple[PositiveInt, ...] = ()
    """For `step`: epochs after which the learning rate falls."""
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.1
    batch_size: PositiveInt = 256
    """Clips per step, over all processes; in-batch negatives come from these."""
    micro_batch: PositiveInt | None = None
    """Clips per forward pass of a process, to save memory: same loss, same in-batch negatives, but
    all clips but the first part are encoded twice. None: a process's clips at once."""
    max_norm: PositiveReal | None = None
    """Gradients are scaled down to this Euclidean norm. None: never."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of an exponential mean of the weights, which is then what is validated and
    published. None: the weights themselves."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs={self.warmup_epochs} must be less than "
                f"optim.epochs={self.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _milestones_rise(self) -> Self:
        bounds = [self.warmup_epochs - 1, *self.milestones, self.epochs]
        if self.schedule == "step" and (not self.milestones or bounds != sorted(set(bounds))):
            raise ValueError(
                f"optim.milestones={list(self.milestones)} must be rising epochs from "
                f"optim.warmup_epochs={self.warmup_epochs} to below optim.epochs={self.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _parts_are_smaller(self) -> Self:
        if self.micro_batch is not None and self.micro_batch >= self.batch_size:
            raise ValueError(
                f"optim.micro_batch={self.micro_batch} must be less than "
                f"optim.batch_size={self.batch_size}; or leave it at null"
            )
        return self


class EvalConfig(Settings):
    """Validation during training, and scoring."""

    every: Annotated[int, Field(ge=0)] = 1
    """Epochs between passes over the `val` split; 0: never."""
    select: str | None = None
    """Split whose videos choose the published epoch, by top-1 (where videos have several classes,
    by mean average precision): `val`. None: the last epoch is published."""
    patience: PositiveInt | None = None
    """Stop after this many validations without improvement. None: never."""
    views: Annotated[str, Field(pattern=r"^[1-9][0-9]*x[1-9][0-9]*$")] = "1x1"
    """Clips in time x crops in space that a test video is seen in; probabilities are averaged.
    Validation during training sees one."""
    batch_size: PositiveInt = 256
    """Clips per forward pass."""

    @property
    def videos_per_pass(self) -> int:
        """Videos whose views together are about `batch_size` clips."""
        clips, crops = self.num_views
        return max(1, self.batch_size // (clips * crops))

    @property
    def num_views(self) -> tuple[int, int]:
        """Clips in time, crops in space."""
        clips, crops = self.views.split("x")
        return int(clips), int(crops)

    @model_validator(mode="after")
    def _selection_is_on_validation_videos(self) -> Self:
        if self.select == "test":
            raise ValueError(
                "eval.select=test would choose the weights on the videos that measure them; use val"
            )
        if self.select not in (None, "val"):
            raise ValueError(f"eval.select={self.select} is not a split to select on; use val")
        if self.select and not self.every:
            raise ValueError("eval.select needs validation; set eval.every=1")
        return self


class RuntimeConfig(Settings):
    """How a run is carried out: nothing in the result but rounding, so no part of a run's key."""

    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`, ...; the first CUDA device if there is one when None."""
    processes: PositiveInt = 1
    """Processes that share each batch, one per GPU where there are GPUs."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that decode videos, for each of `processes`; a video that crashes its decoder then
    costs that video only. 0: threads, which start at once."""
    checkpoint_every_s: PositiveReal = 300.0
    """Seconds between checkpoints that a stopped run goes on from."""
    checkpoint_every_steps: PositiveInt | None = None
    """A checkpoint after this many steps too."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints kept; with a damaged one the run goes on from the one before."""
    compile: bool = False
    """Compile the model with torch.compile."""
    tensorboard: Path | None = None
    """Directory for TensorBoard; needs the extra `tensorboard`."""

    @model_validator(mode="after")
    def _every_process_has_a_gpu(self) -> Self:
        if self.processes > 1 and self.device and ":" in self.device:
            kind = self.device.split(":")[0]
            raise ValueError(
                f"device={self.device} is one device, processes={self.processes} need one each; "
                f"write device={kind}"
            )
        return self


class RunConfig(Settings):
    """A training run, resolved: stored with it and part of its key."""

    data: DataConfig = DataConfig()
    model: ModelConfig = MgdmConfig()
    vision: VisionConfig = VisionConfig()
    optim: OptimConfig = OptimConfig()
    eval: EvalConfig = EvalConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides initial weights, the order of clips and every random draw."""

    @property
    def negatives(self) -> NegativesConfig:
        """Mined texts in use: none where the model takes none."""
        model = self.model
        return model.negatives if isinstance(model, MgdmConfig) else NegativesConfig(k=0)

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.data.shots and getattr(self.model, "multilabel", None):
            raise ValueError(
                f"data.shots={self.data.shots} needs one class per video, which "
                f"model.multilabel={self.model.multilabel} has not; set data.shots=null"  # type: ignore[union-attr]
            )
        init = getattr(self.model, "init", None)
        if init == "scratch" and self.vision.trainable != "all":
            raise ValueError(
                "model.init=scratch starts the image tower from random weights, which must be "
                "trained; set data.features=videos and vision.trainable=all"
            )
        return self

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        defaults["model"] = type(self.model)()
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
        if key == "model.name":
            raise ValueError(f"{key} comes with the recipe; choose a recipe of {text.strip()}")
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
    models = MgdmConfig(), ActionClipConfig()
    known = {name for model in models for name, _ in _flatten(RunConfig(model=model).model_dump())}
    messages: dict[str, list[str]] = {}
    for item in error.errors():
        if item["type"] == "value_error":
            return item["msg"].removeprefix("Value error, ")
        names = [str(part) for part in item["loc"]]
        if names[0] == "model" and names[1:2] in [[model.name] for model in models]:
            del names[1]  # pydantic names the model chosen in between
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
        for name in ("augmentation", "flip", "rand_augment", "short_side", "normalize"):
            yield f"data.{name}", "data.features is cached, so no picture is read"
        for name in ("trainable", "last_n"):
            yield f"vision.{name}", "data.features is cached, so the image tower is not run"
        for name in ("init", "video.pre", "video.within") if model.name == "actionclip" else ():
            yield f"model.{name}", "data.features is cached, so the image tower is not run"
        yield "eval.views", "data.features is cached, so no picture is read"
    if config.optim.schedule != "step":
        for name in ("milestones", "gamma"):
            yield f"optim.{name}", f"optim.schedule is {config.optim.schedule}"
    if config.eval.select is None:
        yield "eval.patience", "eval.select is null, so no epoch is better than another"
    if data.augmentation in ("none", "msq"):
        yield "data.flip", f"data.augmentation is {data.augmentation}"
    if data.augmentation != "tsn_color":
        yield "data.rand_augment", f"data.augmentation is {data.augmentation}, not tsn_color"
    if vision.trainable != "last_n":
        yield "vision.last_n", f"vision.trainable is {vision.trainable}"
    clip_trained = vision.trainable != "none" or model.logit_scale.learnable
    if not clip_trained and not (isinstance(model, ActionClipConfig) and model.text.trainable):
        yield "optim.clip_lr_ratio", "no parameter of CLIP is trained"
    yield from model.without_effect()


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
