"""A CLIP that is loaded when it is first used; until then nothing of torch is imported."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from knowledge.clip.identity import identity
from knowledge.clip.weights import ClipSpec

if TYPE_CHECKING:
    from knowledge.clip.model import Clip
    from knowledge.clip.tokens import Tokens


class LazyClip:
    """A model that is loaded when first used: jobs found by key need only its identity."""

    def __init__(self, spec: ClipSpec, device: str = "cpu") -> None:
        self.spec = spec
        self.device = device

    @cached_property
    def identity(self) -> dict[str, str]:
        """What `load_clip(spec).identity` would be, without building the model.

        Raises:
            ValueError: as for `checkpoint`.
        """
        return identity(self.spec)

    @cached_property
    def tokens(self) -> Tokens:
        """The model's tokenizer, without building the model.

        Raises:
            ValueError: as for `new_tokenizer`.
        """
        from knowledge.clip.architecture import new_tokenizer
        from knowledge.clip.tokens import Tokens

        return Tokens(new_tokenizer(self.spec.arch))

    @cached_property
    def clip(self) -> Clip:
        """The loaded model.

        Raises:
            ValueError: as for `load_clip`.
        """
        from knowledge.clip.model import load_clip

        return load_clip(self.spec, self.device)
