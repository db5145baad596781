"""Methods that are made in one pass over the training videos, without gradient steps.

Legend: B videos, N training videos, K classes, D embedding.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, Self

import torch

from training.models.method import Classifier, Encoded, Method, Parts

if TYPE_CHECKING:
    from training.data.batch import Batch
    from training.data.class_list import ClassList


class FittedMethod(Method):
    """A method made in one pass over the training videos, without gradient steps.

    What it has learnt are buffers, whose shapes may depend on the videos.
    """

    classes_K: torch.Tensor
    """Keys of the classes it was fitted on, see `learn_classes`."""

    def __init__(self, config: Any, parts: Parts) -> None:
        """Build it, knowing nothing yet; arguments as for `build`."""
        super().__init__(parts.tower)
        self.config, self.classes = config, parts.classes
        self.register_buffer("classes_K", torch.zeros(0, dtype=torch.long))

    @classmethod
    def build(cls, config: Any, parts: Parts) -> Self:
        """The model for the parts' classes."""
        return cls(config, parts)

    @abc.abstractmethod
    def embed(self, features_BTD: torch.Tensor) -> torch.Tensor:
        """What is known of each video: (B, D) in full precision, of what `features` gives."""

    def encode(self, batch: Batch) -> Encoded:
        """`video_BD`, what `embed` gives, and `class_ids_B`."""
        video_BD = self.embed(self.features(batch.clips))
        return {"video_BD": video_BD, "class_ids_B": batch.class_ids_B}

    @abc.abstractmethod
    def fit(self, train: Encoded, val: Encoded | None) -> dict[str, Any]:
        """Learn from all training videos.

        Torch's generator is that of the run's seed: `draws` of the config says whether it is used.

        Args:
            train: what `encode` gave, of all training videos by rising id.
            val: the same of the validation videos; None where there are none.

        Returns:
            What the run's report says of it, as JSON; `loss` among it.

        Raises:
            ValueError: what has to be chosen on validation videos, and there are none.
        """

    @abc.abstractmethod
    def logits(self, classes: ClassList) -> Classifier:
        """Logits (B, K) for these classes, of what `embed` gives.

        Raises:
            ValueError: a class that it was not fitted on.
        """

    def classifier(self, classes: ClassList) -> Classifier:
        """Probabilities for these classes, of what `embed` gives; in float64.

        Raises:
            ValueError: a class that it was not fitted on.
        """
        logits = self.logits(classes)

        def classify(video_BD: torch.Tensor) -> torch.Tensor:
            with torch.autocast(video_BD.device.type, enabled=False):
                return logits(video_BD).double().softmax(dim=1)

        return classify

    def protocols(self, classes: ClassList) -> dict[str, Classifier]:
        """The only one: `classifier`, of features.

        Raises:
            ValueError: a class that it was not fitted on.
        """
        classify = self.classifier(classes)
        return {self.primary: lambda features_BTD: classify(self.embed(features_BTD))}

    def learn_classes(self, classes: ClassList, class_ids_N: torch.Tensor) -> torch.Tensor:
        """Keep what the classes are called.

        Args:
            classes: what it is fitted on.
            class_ids_N: of the training videos.

        Returns:
            Position (N,) of each video's class in the list.

        Raises:
            ValueError: a class has no training video.
        """
        position_N = classes.positions(class_ids_N)
        count_K = torch.bincount(position_N, minlength=len(classes.names))
        if not bool(count_K.all()):
            lacking = classes.names[int(count_K.argmin())]
            raise ValueError(
                f"class {lacking!r} has no usable training video, so {self.config.name} cannot "
                "learn it; add a video of it, or register the dataset without the class"
            )
        self.classes_K = classes.keys().to(class_ids_N.device)
        return position_N

    def learnt(self, classes: ClassList) -> torch.Tensor:
        """Where each class of a list is among those that it was fitted on: (K,).

        A class is known by its name, so the list may be another dataset's.

        Raises:
            ValueError: a class is not among them.
        """
        same_KK = classes.keys().to(self.classes_K.device)[:, None] == self.classes_K
        if not bool(same_KK.any(dim=1).all()):
            unknown = classes.names[int(same_KK.any(dim=1).int().argmin())]
            raise ValueError(
                f"class {unknown!r} is not among the {len(self.classes_K)} classes that "
                f"{self.config.name} was fitted on, and it knows no others; score it on videos "
                "of those, or train on a dataset that has the class"
            )
        return same_KK.int().argmax(dim=1)

    def restore(
        self, tensors: dict[str, torch.Tensor], names: set[str] | frozenset[str] | None = None
    ) -> None:
        """Load what was learnt, of whatever shape."""
        for name, buffer in self.named_buffers():
            if name in tensors and "." not in name:
                setattr(self, name, torch.empty_like(tensors[name], device=buffer.device))
        super().restore(tensors, names)
