"""What decides a training run. Nothing here needs torch.

A setting that would have no effect in the chosen combination is an error, so a stored config never
claims something that did not happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from artifacts.frozen import Frozen
from training.config.data import DataConfig, VisionConfig
from training.config.evaluation import EvalConfig
from training.config.method import MethodConfig, method_config
from training.config.optim import OptimConfig
from training.config.settings import first_error, plain


def _of_its_method(value: Any) -> Any:
    """Plain values of a method's config as that config; its `name` says which."""
    if not isinstance(value, dict):
        return value
    config = method_config(str(value.get("name")))
    try:
        return config.model_validate(value)
    except ValidationError as error:
        raise ValueError(first_error(error, config, "model.")) from error


class RunConfig(Frozen):
    """A training run, resolved: stored with it and part of its key."""

    data: DataConfig = DataConfig()
    """What is read."""
    model: Annotated[SerializeAsAny[MethodConfig], BeforeValidator(_of_its_method)]
    """The method."""
    vision: VisionConfig = VisionConfig()
    """CLIP's image tower."""
    optim: OptimConfig = OptimConfig()
    """How it is trained."""
    eval: EvalConfig = EvalConfig()
    """How it is scored."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides initial weights, the order of clips and every random draw."""

    @property
    def seed_counts(self) -> bool:
        """Whether another seed may give another result."""
        return "seed" not in dict(_without_effect(self))

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if problem := next(self.model.conflicts(self.data, self.vision), None):
            raise ValueError(problem)
        if self.model.chosen_on_val and not self.eval.every:
            raise ValueError(
                f"{self.model.chosen_on_val[0]}=val needs validation; set eval.every=1, or the "
                "setting to a number"
            )
        return self

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        defaults["model"] = type(self.model).model_validate({})
        for setting, why in _without_effect(self):
            value, default = _lookup(self, setting), _lookup(defaults, setting)
            if value != default:
                raise ValueError(
                    f"{setting}={plain(value)} has no effect: {why}; leave it at {plain(default)}"
                )
        return self


def _without_effect(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Settings that change nothing in this combination, and why."""
    data, vision = config.data, config.vision
    if data.features == "cached":
        for name in ("augmentation", "flip", "rand_augment", "short_side", "normalize"):
            yield f"data.{name}", "data.features is cached, so no picture is read"
        for name in ("trainable", "last_n"):
            yield f"vision.{name}", "data.features is cached, so the image tower is not run"
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
    if vision.trainable == "none" and not config.model.trains_clip:
        yield "optim.clip_lr_ratio", "no parameter of CLIP is trained"
    if config.model.is_fitted and config.eval.every > 1:
        yield "eval.every", f"{config.model.name} is made in one pass, which validation follows"
    yield from config.model.without_effect(data)


def _lookup(values: Any, key: str) -> Any:
    for name in key.split("."):
        values = values[name] if isinstance(values, dict) else getattr(values, name)
    return values
