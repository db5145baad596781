"""What `train` is given."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import MinedName, RunName
from knowledge.clip.weights import ClipSpec
from training.config.overrides import override_stages
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.models.recipe import Recipe, on_stickworld
from training.models.registry import recipe


class TrainSpec(Frozen):
    """Which recipe to train on which dataset."""

    dataset: MinedName
    """Mined dataset: NAME (the one used last) or NAME@KEY of its `negatives`; a registered one
    where the recipe takes videos and no negatives."""
    recipe: str = "mgdm_small"
    """Named training run, see `actionlore recipes`."""
    data: Literal["stickworld"] | None = None
    """`stickworld`: keep the recipe's method and bring the rest to the demo world's scale."""
    settings: tuple[str, ...] = ()
    """Change to the recipe, such as `model.negatives.k=3`."""
    videos: Path | None = None
    """Directory the videos are in; needed where data.features=videos."""
    clip: ClipSpec | None = None
    """Needed where a tower of CLIP is run (data.features=videos, trained texts), unless it is a
    bundled one."""
    start: RunName | None = None
    """Run whose weights this one starts from: NAME (the one used last) or NAME@KEY of a
    `training_run`; `none` starts from CLIP's; if omitted what the recipe says."""
    name: str | None = None
    """Name of the run; if omitted DATASET-RECIPE."""
    split: str | None = None
    """Split to score; if omitted test, val or train, whichever exists first."""
    runtime: RuntimeOptions = RuntimeOptions()
    """How it is carried out; changes nothing in what comes out."""

    @property
    def run_name(self) -> str:
        """Name of the `training_run` artifact."""
        return self.name or f"{self.dataset.split('@')[0]}-{self.recipe}"

    @property
    def chosen(self) -> Recipe:
        """The recipe, at the demo world's scale where asked for.

        Raises:
            ValueError: unknown recipe.
        """
        found = recipe(self.recipe)
        return on_stickworld(found) if self.data == "stickworld" else found

    @property
    def stages(self) -> tuple[RunConfig, ...]:
        """The runs to make, each from the one before; of most recipes one.

        Raises:
            ValueError: unknown recipe or setting.
        """
        return override_stages((*self.chosen.stages, self.chosen.config), self.settings)

    @property
    def config(self) -> RunConfig:
        """The recipe with its changes, of several stages the last one.

        Raises:
            ValueError: unknown recipe or setting.
        """
        return self.stages[-1]
