"""A trained model on video files: what it sees of them, and which classes it finds.

Legend: V views of a video, T frames, S pixels, D embedding, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from artifacts.artifact import Artifact
from artifacts.store import Store
from knowledge.clip.identity import short_clip
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.video.frames import read_clip as read_whole
from knowledge.video.resizing import SHORTEST, Resizing
from knowledge.video.sampling import fixed_frames
from training.backbone.image_tower import ImageTower
from training.config.data import DataConfig, VisionConfig
from training.config.overrides import parse
from training.config.run import RunConfig
from training.data.class_list import ClassList, read_class_list
from training.data.clips import read_clip
from training.data.inputs import needs_clip, own_inputs
from training.models import weights as checkpoint
from training.models.build import Towers, build, load_towers, restore
from training.models.method import Classifier, Method


@dataclass(frozen=True, eq=False)
class VideoClassifier:
    """A model in evaluation mode with the classes it tells apart."""

    method: Method
    config: RunConfig
    classes: ClassList
    frozen: ImageTower | None
    """Makes the features of a model that was trained on cached ones."""
    pictures: DataConfig
    """Which frames, and how large."""
    protocols: Mapping[str, Classifier]
    resizing: Resizing = SHORTEST
    """How whole pictures become squares, for a model that was trained on cached features."""

    @property
    def tower(self) -> ImageTower:
        """What sees the pictures."""
        tower = self.frozen or self.method.tower
        assert tower is not None
        return tower

    def read(self, path: Path, views: tuple[int, int] = (1, 1)) -> torch.Tensor:
        """The views (V, T, 3, S, S) of a video file, uint8.

        Args:
            path: the file.
            views: clips in time, crops in space.

        Raises:
            VideoError: the video cannot be used.
            ValueError: several crops of pictures that are not cropped.
        """
        if self.resizing != SHORTEST:
            return self._uncropped(path, *views)
        clips = torch.from_numpy(
            read_clip(path, "", self.pictures, self.tower.image_size, None, views)
        )
        return clips if clips.ndim == 5 else clips[None]

    def _uncropped(self, path: Path, num_clips: int, num_crops: int) -> torch.Tensor:
        """The same as the frozen CLIP wants its pictures, where that is not OpenAI's way."""
        if num_crops > 1:
            raise ValueError(
                f"{num_crops} crops of a picture: the run's CLIP wants whole ones "
                f"({self.resizing.mode}); give views of one crop, such as {num_clips}x1"
            )
        seen, size = self.pictures, self.tower.image_size

        def positions(num_frames: int) -> list[int]:
            clips = fixed_frames(num_frames, seen.num_frames, seen.test_offset, num_clips)
            return [index for clip in clips for index in clip]

        short_side = seen.short_side if self.resizing.mode == "shortest" else None
        images = read_whole(path, positions, size, short_side, self.resizing).images
        return images.view(num_clips, seen.num_frames, *images.shape[1:])

    @torch.no_grad()
    def probabilities(self, views_VT3SS: torch.Tensor, protocol: str | None = None) -> torch.Tensor:
        """Class probabilities (K,), in the order of `classes`, averaged over the views of a video.

        Args:
            views_VT3SS: uint8, as `read` gives them.
            protocol: one of `protocols`; that of validation in training when None.

        Raises:
            ValueError: unknown protocol.
        """
        name = protocol or self.method.primary
        if name not in self.protocols:
            raise ValueError(f"no protocol {name!r}; the run has {', '.join(self.protocols)}")
        clips = views_VT3SS.to(self.method.device)
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
            if self.frozen is not None:
                clips = as_cached(self.frozen(clips))
            found_VK = self.protocols[name](self.method.features(clips))
        return found_VK.double().mean(dim=0).cpu()

    def top(
        self,
        path: Path,
        num_top: int = 5,
        views: tuple[int, int] = (1, 1),
        protocol: str | None = None,
    ) -> list[dict[str, Any]]:
        """The most probable classes of a video: `class_id`, `name`, `probability`, best first.

        Raises:
            VideoError: the video cannot be used.
            ValueError: unknown protocol.
        """
        found_K = self.probabilities(self.read(path, views), protocol)
        best, order = found_K.sort(descending=True, stable=True)
        return [
            {
                "class_id": self.classes.class_ids[k],
                "name": self.classes.names[k],
                "probability": probability,
            }
            for k, probability in zip(
                order[:num_top].tolist(), best[:num_top].tolist(), strict=True
            )
        ]


def classifier(
    store: Store, run: Artifact, clip: ClipSpec | None, device: str = "cpu"
) -> VideoClassifier:
    """A run, ready for video files.

    Args:
        store: holds the run's inputs.
        run: the `training_run`.
        clip: the CLIP it was trained with.
        device: where it runs.

    Raises:
        ValueError: inputs that are gone, or no or another CLIP.
    """
    inputs = own_inputs(store, run)
    saved = checkpoint.load(run.read_file(checkpoint.FILE), str(run.ref))
    made_by = saved.facts["clip"]
    if clip is None:
        raise ValueError(
            f"{run.ref} needs the CLIP it was trained with to see videos; give --clip "
            f"{made_by['arch']} and --clip-weights"
        )
    if (given := LazyClip(clip).identity) != made_by:
        raise ValueError(
            f"{run.ref} was trained with CLIP {short_clip(made_by)}, but the model given is "
            f"{short_clip(given)}; give the former"
        )
    config = parse(saved.facts["config"])
    classes = read_class_list(inputs, config)
    pictures = seen_pictures(config, inputs.frames)
    return assembled(config, classes, pictures, clip, saved, device)


def seen_pictures(config: RunConfig, frames: Artifact | None) -> DataConfig:
    """What the model sees of a test video; of cached embeddings, what they were made from."""
    if config.data.features == "videos":
        return config.data
    assert frames is not None
    made = frames.manifest.config
    return DataConfig(
        features="videos",
        num_frames=config.data.num_frames,
        test_offset=made.get("offset", config.data.test_offset),
        short_side=made.get("short_side") or 1,
    )


def assembled(
    config: RunConfig,
    classes: ClassList,
    pictures: DataConfig,
    clip: ClipSpec,
    saved: checkpoint.Checkpoint,
    device: str,
    names: set[str] | None = None,
) -> VideoClassifier:
    """The model with its weights.

    Args:
        config: of the run.
        classes: with the texts the model takes.
        pictures: which frames; a short side less than CLIP's picture size means that size.
        clip: its towers' weights, unless the run has its own.
        saved: the run's weights.
        device: where it runs.
        names: weights that must be there; all that are trained when None.

    Raises:
        ValueError: weights that are not of this model, or a CLIP that cannot be loaded.
    """
    towers = load_towers(clip, config) if needs_clip(config) else Towers()
    method = build(config, classes.prompts_KD.shape[1], classes, towers)
    if names is None:
        restore(method, saved)
    else:
        method.restore(saved.tensors, names)
    method.to(device).eval()
    frozen, resizing = None, SHORTEST
    if config.data.features == "cached":
        loaded = load_clip(clip)
        frozen = ImageTower(loaded, VisionConfig(), "clip").to(device).eval()
        resizing = loaded.preprocess.resizing
    with torch.no_grad():
        protocols = method.protocols(classes)
    model = VideoClassifier(method, config, classes, frozen, pictures, protocols, resizing)
    short_side = max(pictures.short_side, model.tower.image_size)
    return replace(model, pictures=pictures.model_copy(update={"short_side": short_side}))


def as_cached(features_BTD: torch.Tensor) -> torch.Tensor:
    """Features as they come back from `frame_embeddings`: unit rows rounded to float16."""
    features_BTD = features_BTD.float()
    norms_BT1 = features_BTD.norm(dim=-1, keepdim=True)
    cached_BTD: torch.Tensor = (features_BTD / norms_BT1).half().float() * norms_BT1
    return cached_BTD
