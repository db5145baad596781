"""Linear probes: of any mined dataset, and of the demo world."""

from __future__ import annotations

from dataclasses import replace

from training.config.run import RunConfig
from training.models.linear_probe.config import LinearProbeConfig
from training.models.recipe import Recipe, on_stickworld


def linear_probe() -> Recipe:
    """Logistic regression on cached frame embeddings, its strength chosen on validation videos."""
    return Recipe(
        name="linear_probe",
        config=RunConfig(model=LinearProbeConfig()),
        about="logistic regression on frozen CLIP's mean features; needs a val split",
    )


def recipes() -> list[Recipe]:
    """All of them."""
    here = replace(on_stickworld(linear_probe()), name="linear_probe_stickworld", is_baseline=True)
    return [linear_probe(), here]
