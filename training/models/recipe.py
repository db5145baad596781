"""What a recipe is, what training it costs, and the same method on the demo world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from artifacts.frozen import Frozen
from training.config.data import DataConfig, VisionConfig
from training.config.evaluation import EvalConfig
from training.config.optim import OptimConfig
from training.config.run import RunConfig

Widths = tuple[int, int, int, int]
"""Patch side in pixels, patches, width and blocks of an image tower at 224 pixels."""

TOWERS: dict[str, Widths] = {
    "ViT-B-32-quickgelu": (32, 49, 768, 12),
    "ViT-B-16-quickgelu": (16, 196, 768, 12),
    "ViT-L-14-quickgelu": (14, 256, 1024, 24),
}
_CLIPS = {
    "kinetics400": 234_619,
    "ucf101": 9_537,
    "hmdb51": 3_570,
    "charades": 7_985,
}
"""Training videos. Source: MGDM 3.1 and the datasets' lists."""
_SUSTAINED = 1e14
"""Floating point operations per second that the hours of a recipe suppose: of one accelerator of
300 TFLOP/s (bfloat16), a third."""


@dataclass(frozen=True)
class Recipe:
    """A run and what it should give."""

    name: str
    config: RunConfig
    about: str
    """Where it comes from and what it needs."""
    dataset: str | None = None
    """Dataset of the cell; None: any."""
    split: str = "val"
    """Split the expected numbers are for."""
    clip: str | None = None
    """open_clip architecture of the cell (OpenAI weights); None: any."""
    expected_top1: float | None = None
    """Share of videos, 0 to 1."""
    expected_top5: float | None = None
    expected_map: float | None = None
    """Mean average precision over the classes, 0 to 1."""

    stages: tuple[RunConfig, ...] = ()
    """Runs on the same dataset before this one, each from the weights of the one before."""
    start: str | None = None
    """Recipe, trained on a dataset of its own, from whose newest run this one, or its first stage,
    starts."""
    is_baseline: bool = False
    """Shown in every table on the demo world."""

    @property
    def hours(self) -> float | None:
        """Estimated time of training on one accelerator that sustains 100 TFLOP/s.

        Counts the image tower's forward and backward passes, not decoding. None: not of a cell with
        known numbers of videos, or without a pass through the tower.
        """
        if self.config.data.features == "cached" or self.dataset not in _CLIPS:
            return None
        if self.clip not in TOWERS:
            return None
        passes = 1 if self.config.vision.trainable == "none" else 3
        images = _CLIPS[self.dataset] * self.config.data.num_frames * self.config.optim.epochs
        return images * 2 * multiply_adds(TOWERS[self.clip]) * passes / _SUSTAINED / 3600


class BatchAxis(Frozen):
    """Hard negatives against the size of a batch, which holds other classes as negatives, too."""

    without: str
    """Variant of the table without hard negatives."""
    with_them: str
    """The same with them."""
    sizes: tuple[int, ...]
    """Clips per batch, beside those of the recipes."""

    def variants(self, size: int) -> dict[str, str]:
        """Names of both at a size, and the variant each is of."""
        return {f"{each}_batch{size}": each for each in (self.without, self.with_them)}


@dataclass(frozen=True)
class Table:
    """What of a paper's tables is repeated on the demo world, see `flows.demos.reproduce`."""

    variants: tuple[str, ...]
    """Of the recipes `METHOD_stickworld_VARIANT`."""
    train_per_class: int
    """As many training clips as leave all runs of the variants below an hour on two cores."""
    settings: tuple[str, ...] = ()
    """Changes to every recipe: with more clips, fewer epochs."""
    datasets: tuple[str, ...] = ()
    """Those of the paper's recipes `METHOD_DATASET_VARIANT`, whose top-1 is shown beside."""
    zero_shot: str | None = None
    """Variant that is also trained on the base classes and scored on the novel ones."""
    batch: BatchAxis | None = None
    """Two variants that are also trained with smaller batches."""


def multiply_adds(tower: Widths) -> float:
    """Of one image through a vision transformer, biases and norms left out."""
    side, patches, width, blocks = tower
    tokens = 1 + patches
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    return patches * 3 * side**2 * width + blocks * block


def needs(recipe: Recipe) -> str:
    """Data, another run, hardware and cost in a few words."""
    if recipe.start is not None:
        return f"a run of {recipe.start}, then {needs(replace(recipe, start=None))}"
    if recipe.config.data.features == "cached":
        return "mined embeddings; a CPU, minutes"
    if (hours := recipe.hours) is None:
        return "video files; a GPU unless they are few and small"
    shots = "" if recipe.config.data.shots is None else ", less with few shots"
    hours_text = f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}"
    return f"{recipe.dataset} videos, OpenAI weights; about {hours_text} GPU hours{shots}"


def on_stickworld(recipe: Recipe) -> Recipe:
    """The same method on the demo world, with its bundled CLIP: to see a recipe run on a CPU.

    The method stays, but for what its config changes `at_demo_scale`, such as the start of position
    embeddings (1, as long as the features). What changes is the scale: cached embeddings of 16
    frames and 40 epochs (20 where all videos train the text tower, too, which doubles the time of a
    step); or, where time enters the image tower or it starts from random weights, videos of 8
    frames and 4 epochs. Batches are 64 and 32, learning rates those for some hundred videos, and
    one view is scored. A method without gradient steps keeps its other settings.
    """
    return replace(
        recipe,
        config=_at_demo_scale(recipe.config),
        stages=tuple(_at_demo_scale(stage) for stage in recipe.stages),
        start=None,
        about=f"{recipe.name} on the demo world",
        dataset="stickworld",
        split="test",
        clip="stickworld-clip",
        expected_top1=None,
        expected_top5=None,
        expected_map=None,
    )


def baseline_on_stickworld(recipe: Recipe) -> Recipe:
    """The row of a baseline in the tables on the demo world, named `RECIPE_stickworld`."""
    here = on_stickworld(recipe)
    how = "with the same settings" if here.config == recipe.config else "at its scale"
    about = f"{recipe.name} on the demo world, {how}: a row of its tables"
    return replace(here, name=f"{recipe.name}_stickworld", about=about, is_baseline=True)


def _at_demo_scale(config: RunConfig) -> RunConfig:
    towers = config.model.towers(config.data)
    if towers.time != "none" or towers.init != "clip":
        data = DataConfig(features="videos", num_frames=8, short_side=112)
        vision, optim = (
            VisionConfig(trainable="all"),
            OptimConfig(lr=1e-3, epochs=4, warmup_epochs=1, batch_size=32),
        )
    else:
        data, vision = DataConfig(), VisionConfig()
        epochs = 20 if towers.text and config.data.shots is None else 40
        optim = OptimConfig(lr=2e-3, epochs=epochs, warmup_epochs=epochs // 10, batch_size=64)
    every = 0
    if config.model.is_fitted:
        optim, every = config.optim, config.eval.every
    return RunConfig(
        data=data.model_copy(update={"shots": config.data.shots}),
        model=config.model.at_demo_scale(),
        vision=vision,
        optim=optim,
        eval=EvalConfig(every=every),
        seed=config.seed,
    )


def named(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """By name.

    Raises:
        ValueError: two have the same.
    """
    found: dict[str, Recipe] = {}
    for each in recipes:
        if found.setdefault(each.name, each) is not each:
            raise ValueError(f"two recipes are called {each.name!r}; rename one of them")
    return found
