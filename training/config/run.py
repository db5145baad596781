"""What decides a training run. Nothing here needs torch.

A setting that would have no effect in the chosen combination is an error, so a stored config never
claims something that did not happen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from training.config.data import DataConfig, VisionConfig
from training.config.evaluation import EvalConfig
from training.config.method import NegativesConfig
from training.config.optim import OptimConfig
from training.config.settings import Settings
from training.models.actionclip.config import ActionClipConfig
from training.models.mgdm.config import MgdmConfig

ModelConfig = Annotated[MgdmConfig | ActionClipConfig, Field(discriminator="name")]
"""Any of them; its `name` says which."""


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


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
