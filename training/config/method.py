"""What the rest of training asks a method's config; a method is a folder of `training.models`.

The folder's `config` module holds the config as `CONFIG`, found by the folder's name, so nothing
outside it lists methods. Tasks are found the same way. Nothing here needs torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Self, cast

from artifacts.frozen import Frozen
from training.config.data import DataConfig, VisionConfig
from training.config.negatives import NegativesConfig
from training.config.optim import OptimConfig

METHODS = "training.models"
"""Package whose folders are the methods."""

TASKS = "training.evaluation.tasks"
"""Package whose modules are the tasks: what is predicted of a video, and how that is measured."""


@dataclass(frozen=True)
class TowersConfig:
    """What a method runs of CLIP itself, instead of reading cached embeddings."""

    image: bool
    """The image tower, frozen or trained as `vision.trainable` says."""
    time: Literal["none", "joint", "shift"] = "none"
    """Where time enters it, see `training.backbone.image_tower`."""
    text: bool = False
    """The text tower, trained."""
    init: Literal["clip", "vision_only", "scratch"] = "clip"
    """Towers that start from CLIP's weights: both, the image tower, or none."""


class MethodConfig(Frozen):
    """Base of every method's config: what it reads, runs of CLIP and is scored by."""

    name: str
    """The folder in `training.models`."""

    @property
    def task(self) -> str:
        """Module of `training.evaluation.tasks` that scores it."""
        return "single_label"

    @property
    def several_labels(self) -> bool:
        """Whether a video has any number of classes, as the task says, instead of one."""
        return bool(task_module(self.task).SEVERAL_LABELS)

    @property
    def mined(self) -> NegativesConfig:
        """The mined texts it reads for each training video; none with k = 0."""
        return NegativesConfig(k=0)

    def reads(self) -> tuple[str, ...]:
        """Roles of `training.data.roles` it reads in training, beyond what every method reads."""
        if not self.mined.k:
            return ()
        return ("negatives", "corpora") if self.mined.corpus == "union" else ("negatives",)

    def setting(self, part: Frozen) -> str:
        """Full name of a part of this config, such as `model.negatives`."""
        return next((f"model.{name}" for name, value in self if value is part), "model")

    def check_num_classes(self, num_classes: int) -> None:
        """Refuse early what training would refuse once everything is mined.

        Raises:
            ValueError: more negatives per video than there are other classes to take them from.
        """
        wanted, most = self.mined, num_classes - 1
        if wanted.corpus == "dataset" and wanted.k > most:
            setting = self.setting(wanted)
            raise ValueError(
                f"{setting}.k={wanted.k}: of {num_classes} classes a video has at most {most} "
                f"negatives; set {setting}.k={most}, or name more corpora and set "
                f"{setting}.corpus=union"
            )

    def needs(self, need: str, what: str) -> str:
        """Says that a run needs something that is not there, and by which setting.

        Args:
            need: a role of `training.data.roles`, `clip` or `time` (that frames see each other in
                the image tower).
            what: what that is, such as `negatives of videos/hmdb51@0a1b`.
        """
        if need == "negatives" and self.mined.k:
            return f"{self.setting(self.mined)}.k={self.mined.k} needs {what}"
        return f"{self.name} needs {what}"

    def without(self, need: str) -> str:
        """How to do without, such as `set model.negatives.k=0`; empty where that cannot be.

        Args:
            need: as for `needs`, or `logit_scale` (CLIP's factor on cosines), `context` (texts that
                see each other) or `single_label` (one class per video).
        """
        if need == "negatives" and self.mined.k:
            return f"set {self.setting(self.mined)}.k=0"
        return ""

    def templates(self) -> tuple[str, ...]:
        """Sentences about a class whose frozen embeddings it reads; `{label}` is the class."""
        return ()

    def all_templates(self) -> tuple[str, ...]:
        """Those it may read under other settings too: they are embedded together, once."""
        return self.templates()

    def towers(self, data: DataConfig) -> TowersConfig:
        """What it runs of CLIP."""
        return TowersConfig(image=data.features == "videos")

    @property
    def trains_clip(self) -> bool:
        """Whether it trains a parameter of CLIP outside the image tower."""
        return False

    @property
    def is_fitted(self) -> bool:
        """Whether it is made in one pass over the videos, without gradient steps."""
        return False

    @property
    def chosen_on_val(self) -> tuple[str, ...]:
        """Settings that are chosen on the validation videos, which then are no test of it."""
        return ()

    def lr_ratios(self, optim: OptimConfig) -> dict[str, float]:
        """Learning rate over `optim.lr`, by group of `TrainedMethod.parameter_groups`."""
        return {"new": 1.0, "clip": optim.clip_lr_ratio}

    def conflicts(self, data: DataConfig, vision: VisionConfig) -> Iterator[str]:
        """Settings that exclude each other, each as one line with the remedy."""
        if self.several_labels and data.shots:
            yield (
                f"data.shots={data.shots} needs one class per video, which the task {self.task} "
                "has not; set data.shots=null"
            )

    def without_effect(self, data: DataConfig) -> Iterator[tuple[str, str]]:
        """Settings that change nothing in this combination, and why."""
        yield from ()

    def from_clip(self) -> Self:
        """The same method with towers that start from CLIP's weights."""
        return self

    def at_demo_scale(self) -> Self:
        """The same method, changed where a demo world's few videos want it."""
        return self

    @property
    def why_not_mined(self) -> str | None:
        """Why negatives cannot be mined again with a run of it; None: they can."""
        return f"{self.name} has no embeddings of videos and texts to mine with"

    @property
    def texts_see_each_other(self) -> bool:
        """Whether the embedding of a text depends on the others of its list."""
        return False


class FittedConfig(MethodConfig):
    """Base of configs of methods that are made in one pass, without gradient steps."""

    @property
    def is_fitted(self) -> bool:
        """Yes."""
        return True

    @property
    def draws(self) -> bool:
        """Whether `build` or `fit` draws from torch's generator, so that `seed` counts."""
        return False

    def without_effect(self, data: DataConfig) -> Iterator[tuple[str, str]]:
        """Everything about gradient steps, trained towers, augmented clips and random draws."""
        why = f"{self.name} is made in one pass over the videos, as they are tested"
        for name in OptimConfig.model_fields:
            yield f"optim.{name}", why
        for name in ("data.augmentation", "data.flip", "data.rand_augment"):
            yield name, why
        for name in ("vision.trainable", "eval.select", "eval.patience"):
            yield name, why
        if data.shots is None and not self.draws:
            yield "seed", f"{why}, and data.shots is null: nothing is drawn"


def task_names() -> tuple[str, ...]:
    """Names of all tasks, sorted; none of them is imported."""
    package = importlib.import_module(TASKS)
    return tuple(sorted(each.name for each in pkgutil.iter_modules(package.__path__)))


def task_module(name: str) -> ModuleType:
    """The module of a task, which fulfils `training.evaluation.task.Task` and loads no torch.

    Raises:
        ValueError: there is no such task.
    """
    if name not in task_names():
        raise ValueError(f"unknown task {name!r}; known: {', '.join(task_names())}")
    return importlib.import_module(f"{TASKS}.{name}")


def method_names() -> tuple[str, ...]:
    """Names of all methods, sorted; none of them is imported."""
    package = importlib.import_module(METHODS)
    return tuple(sorted(each.name for each in pkgutil.iter_modules(package.__path__) if each.ispkg))


def method_config(name: str) -> type[MethodConfig]:
    """The config of a method.

    Raises:
        ValueError: there is no such method, or its folder is not one of a method.
    """
    if name not in method_names():
        raise ValueError(f"unknown method {name!r}; known: {', '.join(method_names())}")
    found = of_folder(name, "config", "CONFIG")
    is_config = isinstance(found, type) and issubclass(found, MethodConfig)
    if not is_config:
        raise ValueError(f"{_path(name, 'config')}: CONFIG={found!r} is no MethodConfig")
    if (said := found.model_fields["name"].default) != name:
        raise ValueError(
            f"{_path(name, 'config')}: the name of {found.__name__} is {said!r}; write {name!r}, "
            "as the folder is called"
        )
    return cast(type[MethodConfig], found)


def of_folder(method: str, part: str, name: str) -> Any:
    """What a file of a method's folder must hold, such as `CONFIG` in `config`.

    Raises:
        ValueError: there is no such file, or nothing of that name in it.
    """
    module = f"{METHODS}.{method}.{part}"
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(
            f"the method {method} has no file {_path(method, part)}; write it with {name}, as "
            "training/models/README.md says, or remove the folder"
        ) from None
    if not hasattr(found, name):
        raise ValueError(
            f"{_path(method, part)} has no {name}; define it, as training/models/README.md says"
        )
    return getattr(found, name)


def _path(method: str, part: str) -> str:
    return f"{METHODS}.{method}.{part}".replace(".", "/") + ".py"
