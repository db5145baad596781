"""From a config and inputs to the model and its source of clips; shared by training and evaluation.

Legend: B videos, T frames, D embedding, S pixels of the square crop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from training.batches import CachedClips, ClipSource
from training.config import RunConfig
from training.inputs import TrainInputs, clip_logit_scale
from training.models.mgdm import MAX_LOGIT_SCALE, Mgdm

if TYPE_CHECKING:
    from training.vision import ImageTower


class RunModel(nn.Module):
    """A method on CLIP features, and CLIP's image tower where clips come from videos."""

    def __init__(self, head: Mgdm, tower: ImageTower | None) -> None:
        super().__init__()
        self.head = head
        self.tower = tower

    def encode(self, clips: torch.Tensor) -> torch.Tensor:
        """Pictures (B, T, 3, S, S), or features (B, T, D) as they are, to features (B, T, D)."""
        return clips if self.tower is None else self.tower(clips)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters by the origin that decides their learning rate: `new`, `clip`.

        Every trained parameter is in exactly one group.
        """
        groups = self.head.parameter_groups()
        if self.tower is not None:
            trained = [p for p in self.tower.parameters() if p.requires_grad]
            groups = groups | {"clip": groups["clip"] + trained}
        grouped = [id(p) for group in groups.values() for p in group]
        trainable = {id(p) for p in self.parameters() if p.requires_grad}
        assert len(grouped) == len(set(grouped)), "a parameter is in two groups"
        assert set(grouped) == trainable, "a trained parameter is in no group"
        return groups

    def trained_state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds: the head, and the image tower unless it is frozen."""
        with_tower = self.tower is not None and self.tower.trained
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if with_tower or not name.startswith("tower.")
        }


def default_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def assemble(
    inputs: TrainInputs, config: RunConfig, cached: CachedClips | None, device: torch.device
) -> tuple[RunModel, ClipSource]:
    """Build the model with the initial weights of `config.seed`, and open its source of clips.

    Args:
        inputs: must have passed `check_inputs`.
        config: of the run.
        cached: the frame embeddings; None: clips come from videos.
        device: where the model goes.

    Raises:
        ValueError: the config does not fit the CLIP model, or the videos' directory is not there.
    """
    if cached is not None:
        return RunModel(_started_head(inputs, config, cached.dim), None).to(device), cached
    from knowledge.clip import load_clip
    from training.clips import VideoClips
    from training.vision import ImageTower

    assert inputs.clip is not None
    assert inputs.root is not None
    clip = load_clip(inputs.clip)
    source = VideoClips(inputs.root, config, clip.image_size)
    head = _started_head(inputs, config, clip.dim)
    tower = ImageTower(clip, config.vision, config.data.normalize)
    return RunModel(head, tower).to(device), source


def _started_head(inputs: TrainInputs, config: RunConfig, dim: int) -> Mgdm:
    """The model with CLIP's own logit scale, if the config wants that."""
    head = build_head(config, dim)
    if config.model.logit_scale.init == "clip":
        with torch.no_grad():
            head.logit_scale.fill_(min(math.log(clip_logit_scale(inputs.texts)), MAX_LOGIT_SCALE))
    return head


def build_head(config: RunConfig, dim: int) -> Mgdm:
    """The method's model; its initial weights depend on the seed only.

    Raises:
        ValueError: the config does not fit the embedding width.
    """
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return Mgdm(config.model, dim, config.data.num_frames)
