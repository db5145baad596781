"""Class means and Tip-Adapter: of any mined dataset, and of the demo world."""

from __future__ import annotations

from training.config.run import RunConfig
from training.models.prototype.config import PrototypeConfig
from training.models.recipe import Recipe, baseline_on_stickworld


def prototype() -> Recipe:
    """The class whose mean video is nearest."""
    return Recipe(
        name="prototype",
        config=RunConfig(model=PrototypeConfig()),
        about="nearest class mean of frozen CLIP's video embeddings",
    )


def prototype_cache() -> Recipe:
    """Tip-Adapter, its two numbers chosen on validation videos; few shots by `data.shots`."""
    return Recipe(
        name="prototype_cache",
        config=RunConfig(model=PrototypeConfig(cache=True, alpha="val", beta="val")),
        about="Tip-Adapter, training-free: prompts and a cache of videos; needs a val split",
    )


def recipes() -> list[Recipe]:
    """All of them."""
    anywhere = [prototype(), prototype_cache()]
    return [*anywhere, *map(baseline_on_stickworld, anywhere)]
