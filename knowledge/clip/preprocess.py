"""How a CLIP wants its pictures: how they become squares, and the statistics of pixels."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

from artifacts.frozen import Frozen
from knowledge.clip.architecture import CONFIG_FILE, MODELS, description, holds_weights
from knowledge.clip.state import PREPROCESS, metadata_of
from knowledge.clip.weights import ClipSpec
from knowledge.video.resizing import Resizing

Channels = tuple[float, float, float]


class Preprocess(Frozen):
    """What pictures become before the image tower; the defaults are OpenAI's."""

    mean: Channels = (0.48145466, 0.4578275, 0.40821073)
    """Of red, green and blue in [0, 1]."""
    std: Channels = (0.26862954, 0.26130258, 0.27577711)
    """Standard deviation of the same."""
    resizing: Resizing = Resizing()
    """How a picture becomes a square."""

    @property
    def identity(self) -> str:
        """What artifact keys say of one that is not OpenAI's."""
        numbers = " ".join(f"{each:g}" for each in (*self.mean, *self.std))
        fill = f" {self.resizing.fill_color}" if self.resizing.mode == "longest" else ""
        return f"{self.resizing.mode}{fill} {self.resizing.interpolation} {numbers}"


def preprocess_of(spec: ClipSpec, path: Path) -> Preprocess:
    """What a model's pictures become, whichever way its weights are named.

    The first of these that says it: the description that comes with `local-dir:` and `hf-hub:`; the
    pretrained tag; the metadata of a safetensors checkpoint; `open_clip_config.json` beside a local
    checkpoint; the tags of its architecture, if all agree. If these differ, it is OpenAI's, with a
    warning.

    Args:
        spec: the model.
        path: its checkpoint.

    Raises:
        ValueError: what is said cannot be done here.
    """
    if path.parent == MODELS:
        return Preprocess()
    if holds_weights(spec.arch):
        return _read(description(spec.arch)["preprocess_cfg"], spec.arch)
    import open_clip

    if tag := open_clip.get_pretrained_cfg(spec.arch, spec.weights):
        return _read(tag, spec.arch)
    if told := metadata_of(path).get(PREPROCESS):
        return Preprocess.model_validate_json(told)
    beside = path.parent / CONFIG_FILE
    if beside.is_file():
        return _read(_preprocess_cfg(beside), str(beside))
    found = _of_tags(spec.arch)
    if len(found) == 1:
        return next(iter(found))
    if len(found) > 1:
        _warn(spec.arch, path, len(found))
    return Preprocess()


@cache  # once
def _warn(arch: str, path: Path, num_ways: int) -> None:
    logging.getLogger(__name__).warning(
        "weights of %s were published with pictures prepared in %d ways, and %s does not say which "
        "is its own; it is taken as OpenAI's (%s); %s beside it would tell",
        *(arch, num_ways, path, Preprocess().identity, CONFIG_FILE),
    )


def _preprocess_cfg(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); mend or remove it") from error
    return dict(found.get("preprocess_cfg") or {}) if isinstance(found, dict) else {}


@cache
def _of_tags(arch: str) -> frozenset[Preprocess]:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(arch)
    return frozenset(_read(open_clip.get_pretrained_cfg(arch, tag), arch) for tag in tags)


def _read(given: dict[str, Any], where: str) -> Preprocess:
    """open_clip's `preprocess_cfg`; what is not said has open_clip's default, which is OpenAI's."""
    said = {key: value for key, value in given.items() if value is not None}
    values: dict[str, Any] = {}
    for name in ("mean", "std"):
        if name in said:
            each = said[name]
            values[name] = tuple(each) if isinstance(each, list | tuple) else (each,) * 3
    resizing = {
        "mode": said.get("resize_mode", "shortest"),
        "interpolation": said.get("interpolation", "bicubic"),
        "fill_color": said.get("fill_color", 0),
    }
    if resizing["interpolation"] == "random":  # in training; open_clip tests with bicubic
        resizing["interpolation"] = "bicubic"
    if said.get("mode", "RGB") != "RGB":
        raise ValueError(f"{where} wants {said['mode']} pictures; only RGB ones can be given")
    try:
        return Preprocess(**values, resizing=Resizing.model_validate(resizing))
    except ValueError as error:
        raise ValueError(f"{where}: its preprocessing cannot be read ({error})") from error
