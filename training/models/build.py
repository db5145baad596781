"""From a config and inputs to the model and its source of clips; shared by training and evaluation.

Legend: B videos, T frames, D embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from training.config.run import RunConfig
from training.data.class_list import ClassList, read_class_list
from training.data.inputs import TrainInputs, clip_logit_scale, needs_clip
from training.data.sources import CachedClips, ClipSource
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.model import ActionClip
from training.models.method import Method
from training.models.mgdm.config import MgdmConfig
from training.models.mgdm.model import MAX_LOGIT_SCALE, Mgdm

if TYPE_CHECKING:
    from knowledge.clip.weights import ClipSpec
    from training.backbone.image_tower import ImageTower
    from training.backbone.text_tower import TextTower


def default_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def assemble(
    inputs: TrainInputs,
    config: RunConfig,
    cached: CachedClips | None,
    device: torch.device,
    workers: int = 0,
) -> tuple[Method, ClipSource]:
    """Build the model with the initial weights of `config.seed`, and open its source of clips.

    Args:
        inputs: must have passed `check_inputs`.
        config: of the run.
        cached: the frame embeddings; None: clips come from videos.
        device: where the model goes.
        workers: processes that decode videos; 0: threads of this one.

    Raises:
        ValueError: the config does not fit the CLIP model, the videos' directory is not there, or
            there are workers and no videos to decode.
    """
    if workers and cached is not None:
        raise ValueError(
            f"workers={workers} has no effect: data.features=cached reads no videos; leave it out"
        )
    source: ClipSource
    towers = Towers()
    if needs_clip(config):
        assert inputs.clip is not None
        towers = load_towers(inputs.clip, config)
    if cached is not None:
        source, dim = cached, cached.dim
    else:
        from training.data.clips import VideoClips

        assert inputs.root is not None
        assert towers.vision is not None
        source = VideoClips(inputs.root, config, towers.vision.image_size, workers)
        dim = towers.vision.dim
    takes_classes = isinstance(config.model, ActionClipConfig)
    classes = read_class_list(inputs, config) if takes_classes else None
    method = build(config, dim, towers, classes)
    if config.model.logit_scale.init == "clip":
        with torch.no_grad():
            start = min(math.log(clip_logit_scale(inputs.texts)), MAX_LOGIT_SCALE)
            method.get_parameter("logit_scale").fill_(start)
    return method.to(device), source


@dataclass(frozen=True, eq=False)
class Towers:
    """The parts of CLIP that a run's model runs itself."""

    vision: ImageTower | None = None
    text: TextTower | None = None


def load_towers(spec: ClipSpec, config: RunConfig) -> Towers:
    """CLIP's towers as the config wants them; random weights depend on the seed only.

    Raises:
        ValueError: the model cannot be loaded, or the config does not fit it.
    """
    from knowledge.clip.model import load_clip
    from training.backbone.image_tower import ImageTower
    from training.backbone.initial_weights import restart
    from training.backbone.text_tower import TextTower

    clip, model = load_clip(spec), config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if not isinstance(model, ActionClipConfig):
            return Towers(ImageTower(clip, config.vision, config.data.normalize))
        restart(clip, model.init)
        vision = None
        if config.data.features == "videos":
            joint_frames = config.data.num_frames if model.video.pre == "joint" else 0
            shift = model.video.within == "shift"
            vision = ImageTower(clip, config.vision, config.data.normalize, joint_frames, shift)
        return Towers(vision, TextTower(clip) if model.text.trainable else None)


def build(
    config: RunConfig, dim: int, towers: Towers | None = None, classes: ClassList | None = None
) -> Method:
    """The method's model; its initial weights depend on the seed only.

    Args:
        config: of the run.
        dim: width D of CLIP's features.
        towers: what it runs of CLIP; nothing when None.
        classes: what it is trained on; for actionclip.

    Raises:
        ValueError: the config does not fit the embedding width.
    """
    towers = towers or Towers()
    frames = config.data.num_frames
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if isinstance(config.model, MgdmConfig):
            return Mgdm(config.model, dim, frames, towers.vision)
        assert classes is not None
        return ActionClip(config.model, dim, frames, classes, towers.vision, towers.text)
