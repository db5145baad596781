"""`actionlore reproduce`: a paper's tables on the demo world, several seeds, as one table."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from artifacts.store import Store
from flows.steps import Step, console, name_of, show_steps, step
from flows.stickworld import mined_world
from flows.train_model import TrainSpec, train
from knowledge.datasets.stickworld.classes import pairs_by_reason
from knowledge.datasets.stickworld.generate import StickworldConfig
from training.config import RuntimeConfig
from training.mgdm_recipes import mgdm_variants
from training.recipes import recipe
from training.reproduction import compare, markdown

WORLD = StickworldConfig(train_per_class=48, val_per_class=2, test_per_class=16)
PAPER_DATASETS = ("kinetics400", "hmdb51", "ucf101")


class ReproduceSpec(BaseModel):
    """Which paper's tables, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    videos: Path
    """Where the world is rendered to."""
    world: StickworldConfig = WORLD
    variants: tuple[str, ...] = tuple(mgdm_variants())
    num_seeds: int = Field(3, ge=1)


def reproduce(directory: Path, num_seeds: int) -> None:
    """Run the tables unattended; a second run goes on where the first was stopped.

    Args:
        directory: videos go to `videos`, artifacts to `artifacts`, the table to `mgdm.md` below it.
        num_seeds: runs per variant.
    """
    store = str(directory / "artifacts")
    steps = reproduce_flow(store, ReproduceSpec(videos=directory / "videos", num_seeds=num_seeds))
    show_steps(steps, store)
    table = markdown(Store(store).get(steps[-1].ref), _expected())
    (directory / "mgdm.md").write_text(table + "\n", encoding="utf-8")
    console.print(f"\n{table}\n\nwritten to {directory / 'mgdm.md'}")


@flow(name="reproduce-mgdm")
def reproduce_flow(store: str, spec: ReproduceSpec) -> list[Step]:
    """Every variant with every seed on the demo world, then the comparison."""
    steps = mined_world(store, spec.videos, spec.world)
    negatives = name_of(steps[-1])
    made: dict[str, list[str]] = {variant: [] for variant in spec.variants}
    for seed in range(spec.num_seeds):
        for variant in spec.variants:
            console.print(f"{variant}, seed {seed}", style="dim")
            run = TrainSpec(
                dataset=negatives,
                recipe=f"mgdm_stickworld_{variant}",
                settings=(f"seed={seed}",),
                name=f"stickworld-{variant}-seed{seed}",
                runtime=RuntimeConfig(device="cpu"),
            )
            steps += train(store, run)
            made[variant].append(steps[-1].ref)
    return [*steps, compare_task(store, made)]


@task(cache_policy=NO_CACHE)
def compare_task(store: str, made: dict[str, list[str]]) -> Step:
    """Mean and standard deviation over the seeds: `comparison`."""
    target = Store(store)
    runs = {variant: [target.get(ref) for ref in refs] for variant, refs in made.items()}
    return step(compare(target, "stickworld-mgdm", runs, pairs_by_reason()))


def _expected() -> dict[str, dict[str, float | None]]:
    """The paper's top-1 per variant and dataset."""
    return {
        variant: {
            dataset: recipe(f"mgdm_{dataset}_{variant}").expected_top1 for dataset in PAPER_DATASETS
        }
        for variant in mgdm_variants()
    }
