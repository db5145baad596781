"""What the one training loop needs to know of a model, and what it does not.

A training step has two halves. `Method.encode` turns clips into whatever the loss compares, sample
by sample, so a batch may be encoded in parts, on several processes. `Method.losses` sees the whole
batch, wherever its parts were encoded: its in-batch negatives are those of the global batch. The
loop (`training.loop.step`) gathers the parts and carries the gradients back.

Legend: B videos, K classes.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from training.data.batch import Batch
    from training.data.class_list import ClassList

Encoded = dict[str, torch.Tensor]
"""Per sample: every entry has a leading dimension B. Entries that need a gradient get one."""

Classifier = Callable[[torch.Tensor], torch.Tensor]
"""What `Method.features` gives for B clips to class probabilities (B, K) in float32."""


class Method(nn.Module, abc.ABC):
    """A model with its loss and its ways of classifying; knows no optimiser and no artifact."""

    @abc.abstractmethod
    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """What all protocols share of B clips (pictures or cached features); leading dimension B.

        Where `zero_shot_features` holds, these are frozen CLIP's frame features (B, T, D).
        """

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

        Every trained parameter is in exactly one group; `optimizers.checked_groups` asserts it.
        """

    @abc.abstractmethod
    def protocols(self, classes: ClassList) -> dict[str, Classifier]:
        """Ways to classify at test by name; texts are encoded here, once."""

    @property
    @abc.abstractmethod
    def primary(self) -> str:
        """The protocol of validation during training."""

    @property
    def zero_shot_features(self) -> bool:
        """Whether `features` are frozen CLIP's own, so that zero-shot can be scored on them."""
        return False

    def after_step(self) -> None:
        """Called after each optimiser step, e.g. to keep a parameter in bounds."""

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
            if not any(name.startswith(prefix) for prefix in frozen)
        }
