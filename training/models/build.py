"""From a config and inputs to the model and its source of clips; shared by training and evaluation.

Legend: B videos, T frames, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.config.run import RunConfig
from training.data.class_list import ClassList
from training.data.inputs import TrainInputs, clip_logit_scale, needs_clip
from training.data.run_data import TrainData
from training.data.run_data import read_data as read_joined
from training.data.sources import CachedClips, ClipSource
from training.models import weights
from training.models.method import Method, Parts
from training.models.registry import method_of

if TYPE_CHECKING:
    from knowledge.clip.weights import ClipSpec
    from training.backbone.image_tower import ImageTower
    from training.backbone.text_tower import TextTower


def default_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_data(inputs: TrainInputs, config: RunConfig) -> TrainData:
    """What a run reads, with all that its method joins to the training videos.

    Raises:
        ValueError: the inputs are to blame.
    """
    return read_joined(inputs, config, method_of(config.model).joined)


def assemble(
    inputs: TrainInputs,
    config: RunConfig,
    classes: ClassList,
    cached: CachedClips | None,
    device: torch.device,
    workers: int = 0,
) -> tuple[Method, ClipSource]:
    """Build the model with the initial weights of `config.seed`, and open its source of clips.

    Args:
        inputs: must have passed `check_inputs`.
        config: of the run.
        classes: those of the inputs.
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
        assert towers.image is not None
        source = VideoClips(inputs.root, config, towers.image.image_size, workers)
        dim = towers.image.dim
    method = build(config, dim, classes, towers)
    method.start_from_clip(lambda: clip_logit_scale(inputs.texts, config.model))
    return method.to(device), source


def load_start(method: Method, inputs: TrainInputs, config: RunConfig) -> None:
    """Take over the weights of the run that this one starts from, if there is one.

    Raises:
        ValueError: it is of another model.
        CorruptArtifactError: its checkpoint is damaged.
    """
    if inputs.start is None:
        return
    saved = weights.load(inputs.start.read_file(weights.FILE), str(inputs.start.ref))
    parts = {"clip": "", "vision_only": "visual.", "scratch": None}  # of CLIP that are not random
    part = parts[config.model.towers(config.data).init]
    names = method.clip_names().items()
    from_clip = {own for own, clips in names if part is not None and clips.startswith(part)}
    method.start_from(saved.tensors, str(inputs.start.ref), from_clip)


def restore(method: Method, saved: weights.Checkpoint) -> None:
    """Load a run's weights, among them those that it took over from another run.

    Raises:
        ValueError: they are of another model.
    """
    method.from_start = frozenset(saved.facts.get("from_start", ()))
    method.restore(saved.tensors)


@dataclass(frozen=True, eq=False)
class Towers:
    """The parts of CLIP that a run's model runs itself."""

    image: ImageTower | None = None
    text: TextTower | None = None


def load_towers(spec: ClipSpec, config: RunConfig) -> Towers:
    """CLIP's towers as the config wants them; random weights depend on the seed only.

    Raises:
        ValueError: the model cannot be loaded, or the config does not fit it.
    """
    from knowledge.clip.model import load_clip
    from training.backbone.image_tower import ImageTower
    from training.backbone.initial_weights import restart
    from training.backbone.text_tower import TextTower, is_plain_text

    clip, wanted = load_clip(spec), config.model.towers(config.data)
    check_tower(clip.model.visual, config)
    if wanted.text and not is_plain_text(clip.model):
        needs = config.model.needs("clip", "a model with CLIP's own text tower")
        remedies = ("choose another --clip", config.model.without("clip"))
        raise ValueError(
            f"{needs}, that of {spec.arch} is another ({type(clip.model).__name__}); "
            f"{' or '.join(filter(None, remedies))}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        restart(clip, wanted.init)
        image = None
        if wanted.image:
            frames = config.data.num_frames if wanted.time == "joint" else 0
            shift = wanted.time == "shift"
            image = ImageTower(clip, config.vision, config.data.normalize, frames, shift)
        return Towers(image, TextTower(clip) if wanted.text else None)


def check_tower(visual: nn.Module, config: RunConfig) -> None:
    """Refuse an image tower of CLIP that time cannot enter where the method wants it to.

    Raises:
        ValueError: it is none of open_clip's plain vision transformers.
    """
    from training.backbone.image_tower import is_plain_vit

    if config.model.towers(config.data).time == "none" or is_plain_vit(visual):
        return
    needs = config.model.needs("time", "open_clip's vision transformer")
    remedies = ("choose another --clip", config.model.without("time"))
    pools = " that pools by attention" if getattr(visual, "attn_pool", None) is not None else ""
    tower = f"{type(visual).__name__}{pools}"
    raise ValueError(f"{needs}, this tower is {tower}; {' or '.join(filter(None, remedies))}")


def build(config: RunConfig, dim: int, classes: ClassList, towers: Towers | None = None) -> Method:
    """The method's model; its initial weights depend on the seed only.

    Args:
        config: of the run.
        dim: width D of CLIP's features.
        classes: what it is trained on.
        towers: what it runs of CLIP; nothing when None.

    Raises:
        ValueError: the config does not fit the embedding width.
    """
    towers = towers or Towers()
    parts = Parts(dim, config.data.num_frames, classes, towers.image, towers.text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return method_of(config.model).build(config.model, parts)
