"""What the rest of training needs to know of a model, and what it does not.

A training step has two halves. `TrainedMethod.encode` turns clips into whatever the loss compares,
sample by sample, so a batch may be encoded in parts, on several processes. `TrainedMethod.losses`
sees the whole batch, wherever its parts were encoded: its in-batch negatives are those of the
global batch. The loop (`training.loop.step`) gathers the parts and carries the gradients back.

Legend: B videos, T frames, K classes, D embedding, S pixels.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import nn

from training.data.order import Order, Shuffled
from training.layers.losses import full_precision
from training.models import weights

if TYPE_CHECKING:
    from training.backbone.image_tower import ImageTower
    from training.backbone.text_tower import TextTower
    from training.config.method import MethodConfig
    from training.config.run import RunConfig
    from training.data.batch import Batch, Joined
    from training.data.class_list import ClassList
    from training.data.inputs import TrainInputs
    from training.data.video_set import VideoSet

Encoded = dict[str, torch.Tensor]
"""Per sample: every entry has a leading dimension B. Entries that need a gradient get one."""

Classifier = Callable[[torch.Tensor], torch.Tensor]
"""What `Method.features` gives for B clips to class probabilities (B, K) in
float64: in float32 those of very different logits are equal, and rank no more."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a method is built of."""

    dim: int
    """Width D of CLIP's features."""
    num_frames: int
    """Frames T of a clip."""
    classes: ClassList
    """What it is trained on, with the texts its config asks for."""
    tower: ImageTower | None = None
    """CLIP's image tower, where clips are pictures."""
    texts: TextTower | None = None
    """CLIP's text tower, where that is trained."""


def mean_of_unit_frames(features_BTD: torch.Tensor) -> torch.Tensor:
    """Clips (B, D) as frozen CLIP compares them, not normalised."""
    return F.normalize(full_precision(features_BTD), dim=-1).mean(dim=1)


class Method(nn.Module, abc.ABC):
    """A model with its ways of classifying; knows no optimiser and no artifact."""

    config: MethodConfig
    """What it was built by; its `name` is what errors call the method."""

    def __init__(self, tower: ImageTower | None = None, texts: TextTower | None = None) -> None:
        super().__init__()
        self.tower = tower
        self.texts = texts
        self.from_start: frozenset[str] = frozenset()
        """Weights taken over from another run, see `start_from`."""

    @classmethod
    @abc.abstractmethod
    def build(cls, config: Any, parts: Parts) -> Self:
        """The model with initial weights from torch's global generator.

        Args:
            config: of the method.
            parts: what it is built of.

        Raises:
            ValueError: the config does not fit the parts.
        """

    @classmethod
    def joined(
        cls, config: RunConfig, inputs: TrainInputs, videos: VideoSet, classes: ClassList
    ) -> tuple[Joined, ...]:
        """What it reads for each training video beyond clip and class, joined by id.

        Of a method made in one pass also for each validation video, of which it is asked apart.
        """
        return ()

    @classmethod
    def order(cls, config: RunConfig, videos: VideoSet) -> Order:
        """Which videos make up the batches of an epoch."""
        return Shuffled(len(videos), config.optim.batch_size, config.seed)

    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """What all protocols share of B clips, with leading dimension B.

        Where `zero_shot_features` holds, these are frozen CLIP's frame features.

        Args:
            clips: pictures (B, T, 3, S, S), or cached features (B, T, D).

        Returns:
            (B, T, D); (B, 1, D) where the image tower sees all frames as one sequence.
        """
        return clips if self.tower is None else self.tower(clips)

    @property
    def zero_shot_features(self) -> bool:
        """Whether `features` are frozen CLIP's own, so that zero-shot can be scored on them."""
        moved = any(name.startswith("tower.") for name in self.from_start)
        return self.tower is None or (self.tower.frozen_clip and not moved)

    @abc.abstractmethod
    def protocols(self, classes: ClassList) -> dict[str, Classifier]:
        """Ways to classify at test by name; texts are encoded here, once.

        Raises:
            ValueError: it cannot tell these classes apart.
        """

    @property
    @abc.abstractmethod
    def primary(self) -> str:
        """The protocol of validation during training."""

    def embed_clips(self, features: torch.Tensor) -> torch.Tensor:
        """Clips (B, D) for comparing them with each other, without any text; not normalised.

        Here `mean_of_unit_frames`, which on frozen CLIP's features is frozen CLIP's own: few-shot
        episodes then give no number for the method.

        Args:
            features: what `features` gives.
        """
        return mean_of_unit_frames(features)

    @property
    def log_scale(self) -> torch.Tensor | None:
        """Logarithm of the factor on the cosines of its videos with its texts, as CLIP keeps it.

        None: it compares them in another way, or not at all.
        """
        return None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def clip_modules(self) -> dict[str, nn.Module]:
        """The parts of CLIP it runs, by the prefix of their weights in open_clip's model."""
        found: dict[str, nn.Module] = {}
        if self.tower is not None:
            found["visual."] = self.tower.visual
        if self.texts is not None:
            found[""] = self.texts
        return found

    def clip_names(self) -> dict[str, str]:
        """Names of those of its weights that are CLIP's, and what open_clip calls them."""
        modules = {module: prefix for prefix, module in self.clip_modules().items()}
        return {
            f"{path}.{name}": modules[module] + name
            for path, module in self.named_modules()
            if module in modules
            for name in module.state_dict()
        }

    def start_from_clip(self, factor: Callable[[], float]) -> None:
        """Take over CLIP's factor on cosines, where the config wants it.

        Args:
            factor: gives it.
        """

    def start_from(
        self, tensors: dict[str, torch.Tensor], where: str, from_clip: Collection[str]
    ) -> None:
        """Take over the weights of another run, all of which must have a place here.

        Args:
            tensors: what the run published.
            where: names the run in errors.
            from_clip: names of weights that CLIP gives where the run has none; no other may lack.

        Raises:
            ValueError: a weight has no place, or another shape, or would stay random.
        """
        state = self.state_dict()
        for name, tensor in tensors.items():
            if name not in state or state[name].shape != tensor.shape:
                has = "is not there" if name not in state else f"is {list(state[name].shape)}"
                raise ValueError(
                    f"{where} cannot be the start: its {name} {list(tensor.shape)} {has} in the "
                    "new model; start from a run of the same method, CLIP and number of frames"
                )
        if lacking := sorted(self.trained_state().keys() - tensors.keys() - set(from_clip)):
            more = f" and {len(lacking) - 1} more weights" if len(lacking) > 1 else ""
            raise ValueError(
                f"{where} cannot be the start: it lacks {lacking[0]}{more} of the new model, which "
                "would stay random; set the new run's model as that run has it, or start from "
                "another one"
            )
        self.load_state_dict(tensors, strict=False)
        self.from_start = frozenset(tensors)

    def restore(
        self, tensors: dict[str, torch.Tensor], names: set[str] | frozenset[str] | None = None
    ) -> None:
        """Load weights that a run published.

        Args:
            tensors: the weights.
            names: those that must be there; all of `trained_state` when None.

        Raises:
            ValueError: a weight is missing, unknown or of another shape.
        """
        weights.restore(self, tensors, set(self.trained_state()) if names is None else set(names))

    def embed_videos(self, clips: torch.Tensor, guides_BD: torch.Tensor) -> torch.Tensor:
        """Videos (B, D) as the loss compares them with negatives, not normalised.

        Only for methods whose config has no `why_not_mined`.

        Args:
            clips: as for `features`.
            guides_BD: CLIP features of each video's class.
        """
        raise TypeError(f"{self.config.name} embeds no videos")

    def embed_texts(self, features_KD: torch.Tensor) -> torch.Tensor:
        """Texts (K, D) as the loss compares them with videos, from CLIP's, not normalised."""
        raise TypeError(f"{self.config.name} embeds no texts")

    def trained_state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint holds: everything but frozen parts, which come from CLIP."""
        frozen = [
            f"{name}."
            for name, part in self.named_children()
            if not any(p.requires_grad for p in part.parameters())
        ]
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name in self.from_start or not any(name.startswith(prefix) for prefix in frozen)
        }


class TrainedMethod(Method):
    """A method trained by gradient steps."""

    @abc.abstractmethod
    def encode(self, batch: Batch) -> Encoded:
        """What `losses` needs of a part of a batch.

        The samples must not see each other here: encoding parts and joining them equals encoding
        the whole. The names of the entries, and which of them need a gradient, depend on the config
        only. Runs under autocast on CUDA.
        """

    @abc.abstractmethod
    def losses(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        """Losses of the global batch, in full precision; the one named `loss` is minimised."""

    @abc.abstractmethod
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Trained parameters by the origin that decides their learning rate: `new`, `clip`.

        Every trained parameter is in exactly one group; `training.loop.optimizer` asserts it.
        """

    def after_step(self) -> None:
        """Called after each optimiser step, e.g. to keep a parameter in bounds."""
