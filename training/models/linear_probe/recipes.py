"""Linear probes: of any mined dataset, and of the demo world."""

from __future__ import annotations

from training.config.run import RunConfig
from training.models.linear_probe.config import LinearProbeConfig
from training.models.recipe import Recipe, baseline_on_stickworld


def linear_probe() -> Recipe:
    """Logistic regression on cached frame embeddings, its strength chosen on validation videos."""
    return Recipe(
        name="linear_probe",
        config=RunConfig(model=LinearProbeConfig()),
        about="logistic regression on frozen CLIP's mean features; needs a val split",
    )


def recipes() -> list[Recipe]:
    """All of them."""
    return [linear_probe(), baseline_on_stickworld(linear_probe())]
