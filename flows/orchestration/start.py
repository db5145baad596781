"""The run that a recipe starts from, found in the store."""

from __future__ import annotations

from collections.abc import Iterator

from artifacts.artifact import Artifact
from artifacts.provenance import ArtifactRef
from artifacts.store import Store
from flows.orchestration.resolve import last_used
from knowledge.clip.identity import short_clip
from training.config.method_code import config_of
from training.config.overrides import differing
from training.data.inputs import run_clip
from training.models.recipe import Recipe

_SHOWN = 3
"""Runs that do not fit, and settings of each, that an error names."""


def start_of_recipe(store: Store, name: str, start: Recipe, clip: dict[str, str]) -> Artifact:
    """The run of a recipe, used last, on the recipe's own dataset.

    A run is of the recipe whatever its seed.

    Args:
        store: where to look.
        name: of the recipe that starts from it, for errors.
        start: the recipe whose run is looked for.
        clip: identity of the CLIP it must have been trained with.

    Raises:
        ValueError: there is none; what keeps the nearest ones from fitting is named.
    """
    method = start.config.model.name
    runs = [
        r for r in store.published("training_run") if r.manifest.config["model"]["name"] == method
    ]
    reasons = {str(run.ref): list(_unfit(run, start, clip)) for run in runs}
    if chosen := last_used([run for run in runs if not reasons[str(run.ref)]]):
        return chosen
    nearest = sorted(reasons.items(), key=lambda item: len(item[1]))[:_SHOWN]
    there = "".join(f"; {ref} does not fit: {_some(why)}" for ref, why in nearest)
    raise ValueError(
        f"recipe {name} starts from a run of recipe {start.name}, of which this store holds "
        f"none{there}; run `actionlore train --recipe {start.name}` on {start.dataset} first, or "
        "give --start RUN, or --start none to start from CLIP's weights"
    )


def _unfit(run: Artifact, start: Recipe, clip: dict[str, str]) -> Iterator[str]:
    """Why a run of its method is none of the recipe's."""
    used = run.manifest.inputs
    datasets = [ArtifactRef.parse(used[role].ref).name for role in ("videos", "classes")]
    if start.dataset is not None and start.dataset not in datasets:
        yield f"it is on {datasets[0]}, not on {start.dataset}"
    try:
        if (found := run_clip(run)) != clip:
            yield f"its CLIP is {short_clip(found)}, not {short_clip(clip)}"
    except ValueError as error:
        yield f"it does not say its CLIP ({error})"
    try:
        config = config_of(run)
    except ValueError as error:
        yield f"its config is none of this version ({error})"
        return
    yield from differing(config.model_copy(update={"seed": start.config.seed}), start.config)


def _some(reasons: list[str]) -> str:
    more = len(reasons) - _SHOWN
    return ", ".join(reasons[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
