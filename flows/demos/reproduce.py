"""`actionlore reproduce`: a paper's tables on the demo world, several seeds, as Markdown."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from artifacts.frozen import Frozen
from artifacts.store import Store
from flows.demos.batch_axis import batch_table
from flows.demos.stickworld import WORLD_CLIP, mined_world, train_all_task
from flows.evaluation.evaluate_run import evaluate
from flows.mine_negatives import mine
from flows.orchestration.console import console
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report, name_of
from flows.orchestration.specs.evaluate import EvaluateSpec
from flows.orchestration.specs.mine import MineSpec
from flows.orchestration.specs.train import TrainSpec
from flows.register_dataset import register
from flows.terminal.comparison import Expected, markdown
from flows.terminal.work import show_reports
from knowledge.datasets.readers.stickworld import write_part
from knowledge.datasets.spec import DatasetSpec
from knowledge.stickworld.classes import CLASSES, pairs_by_reason
from knowledge.stickworld.generate import StickworldConfig
from training.config.overrides import override
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.evaluation.tables.comparison import compare
from training.models.recipe import BatchAxis, Table
from training.models.registry import baselines, recipe, tables


class ReproduceSpec(Frozen):
    """Which paper's tables, and how often."""

    paper: str
    videos: Path
    """Where the world is rendered to."""
    world: StickworldConfig
    variants: tuple[str, ...]
    baselines: tuple[str, ...] = ()
    """Recipes of other methods, shown beside the variants."""
    zero_shot: str | None = None
    settings: tuple[str, ...] = ()
    """Changes to the recipe of every variant; baselines stay as they are."""
    batch: BatchAxis | None = None
    """Two of the variants that are also trained with other batches."""
    num_seeds: int = Field(3, ge=1)
    """Runs of each row whose result depends on the seed."""
    at_once: int = Field(1, ge=1)
    """Runs at a time, each on one core: faster than one after the other on all of them."""


def reproduce(
    directory: Path,
    paper: str,
    num_seeds: int,
    settings: tuple[str, ...] = (),
    *,
    table: Table | None = None,
    world: StickworldConfig | None = None,
) -> None:
    """Run a paper's tables unattended; a second run goes on where the first was stopped.

    Args:
        directory: gets the videos in `videos/PAPER`, `artifacts`, and the tables in `PAPER.md`.
        paper: a method whose recipes have a table.
        num_seeds: runs per variant.
        settings: changes to the recipe of every variant, such as `optim.epochs=10`.
        table: what is repeated; the paper's when None.
        world: the videos it is made on; those of the table when None.

    Raises:
        ValueError: another paper.
    """
    if paper not in tables():
        raise ValueError(f"nothing to reproduce for {paper!r}; there is {', '.join(tables())}")
    known, store = table or tables()[paper], str(directory / "artifacts")
    spec = ReproduceSpec(
        paper=paper,
        videos=directory / "videos" / paper,
        world=world or world_of(known),
        variants=known.variants,
        baselines=tuple(each.name for each in baselines()),
        zero_shot=known.zero_shot,
        settings=(*known.settings, *settings),
        batch=known.batch,
        num_seeds=num_seeds,
        at_once=os.cpu_count() or 1,
    )
    reports = reproduce_flow(store, spec)
    show_reports(reports, store)
    comparisons = [Store(store).get(each.ref) for each in reports if each.kind == "comparison"]
    parts = [markdown(each, _expected(paper, known)) for each in comparisons]
    if spec.batch is not None:
        size = _rows(spec)[spec.batch.with_them].config.optim.batch_size
        parts.append(batch_table(comparisons[0], spec.batch, size, len(CLASSES)))
    text = "\n\n".join(parts)
    path = directory / f"{paper}.md"
    path.write_text(text + "\n", encoding="utf-8")
    console.print(f"\n{text}\n\nwritten to {path}", markup=False, soft_wrap=True)


def world_of(table: Table) -> StickworldConfig:
    """The videos a table is made on."""
    return StickworldConfig(
        train_per_class=table.train_per_class, val_per_class=2, test_per_class=16
    )


class Row(NamedTuple):
    """What one line of a table is trained by."""

    recipe: str
    settings: tuple[str, ...] = ()

    @property
    def config(self) -> RunConfig:
        """The run, but for its seed."""
        return override(recipe(self.recipe).config, self.settings)


def check_settings(spec: ReproduceSpec) -> None:
    """Refuse settings before anything is rendered.

    Raises:
        ValueError: one that no recipe knows, a seed, or what makes two variants the same.
    """
    found: dict[RunConfig, str] = {}
    for variant, row in _variants(spec).items():
        config = row.config
        if config.seed:
            raise ValueError(f"--set seed={config.seed}: the seeds are 0 to N - 1 of --seeds N")
        if (other := found.setdefault(config, variant)) != variant:
            raise ValueError(
                f"with --set {' --set '.join(spec.settings)} the variants {other} and {variant} "
                "are the same; leave out what sets them apart"
            )


@flow(name="reproduce")
def reproduce_flow(store: str, spec: ReproduceSpec) -> list[JobReport]:
    """Every baseline and variant with every seed on the demo world; the comparisons come last.

    What comes out the same with every seed is run once.

    Raises:
        ValueError: settings that cannot be, or after which variants are no longer apart.
    """
    check_settings(spec)
    reports = mined_world(store, spec.videos, spec.world)
    world, rows = name_of(reports[-1]), _rows(spec)
    runs = _runs(spec, world, rows)
    on_base, novel = [], ""
    if spec.zero_shot:
        base, novel = (_part(store, spec, reports[0].ref, is_base) for is_base in (True, False))
        name = f"{spec.paper}_stickworld_{spec.zero_shot}"
        on_base = _runs(spec, base, {f"{spec.zero_shot}-base": Row(name, spec.settings)})
    trained = train_all_task(store, [run for _, run in [*runs, *on_base]], spec.at_once)
    metrics: dict[str, list[str]] = defaultdict(list)
    for (row, _), made in zip(runs, trained, strict=False):
        metrics[row].append(made[-1].ref)
    reports += [each for made in trained for each in made]
    once = [name for name, row in rows.items() if not row.config.seed_counts]
    comparisons = [
        compare_task(store, f"stickworld-{spec.paper}", metrics, pairs_by_reason(), once)
    ]
    if spec.zero_shot:
        scored = [
            evaluate(store, EvaluateSpec(run=_trained_run(made), data=novel, runtime=_CPU))
            for made in trained[len(runs) :]
        ]
        reports += [each for made in scored for each in made]
        unseen = {f"{spec.zero_shot}_of_other_classes": [made[-1].ref for made in scored]}
        name = f"stickworld-{spec.paper}-zero-shot"
        comparisons.append(compare_task(store, name, unseen, {}, []))
    return [*reports, *comparisons]


_CPU = RuntimeOptions(device="cpu")


def _rows(spec: ReproduceSpec) -> dict[str, Row]:
    """The lines of the table: baselines first."""
    others = {name.replace("_stickworld", ""): Row(name) for name in spec.baselines}
    return others | _variants(spec)


def _variants(spec: ReproduceSpec) -> dict[str, Row]:
    found = {each: Row(f"{spec.paper}_stickworld_{each}", spec.settings) for each in spec.variants}
    for size in spec.batch.sizes if spec.batch else ():
        assert spec.batch is not None
        for name, variant in spec.batch.variants(size).items():
            settings = (*spec.settings, f"optim.batch_size={size}")
            found[name] = found[variant]._replace(settings=settings)
    return found


def _runs(
    spec: ReproduceSpec, dataset: str, rows: Mapping[str, Row]
) -> list[tuple[str, TrainSpec]]:
    """Each row with each seed; once where the seed has no effect."""
    return [
        (
            name,
            TrainSpec(
                dataset=dataset,
                recipe=row.recipe,
                settings=(*row.settings, f"seed={seed}"),
                name=f"stickworld-{spec.paper}-{name}-seed{seed}",
                runtime=_CPU,
            ),
        )
        for seed in range(spec.num_seeds)
        for name, row in rows.items()
        if not seed or row.config.seed_counts
    ]


def _part(store: str, spec: ReproduceSpec, classes: str, is_base: bool) -> str:
    """The mined dataset of the base classes, or of the novel ones."""
    table = Store(store).get(classes).read(["name", "is_base_75"]).to_pylist()
    wanted = {row["name"] for row in table if row["is_base_75"] == is_base}
    name = "stickworld-base" if is_base else "stickworld-novel"
    labels = str(write_part(spec.videos, name, wanted))
    given = DatasetSpec(dataset="folder", videos=spec.videos, labels=labels, name=name)
    _, videos = register(store, given)
    mined = mine(store, MineSpec(dataset=name_of(videos), videos=spec.videos, clip=WORLD_CLIP))
    return name_of(mined[-1])


@task
def compare_task(
    store: str,
    name: str,
    made: dict[str, list[str]],
    pairs: dict[str, list[tuple[int, int]]],
    once: list[str],
) -> JobReport:
    """Mean and standard deviation over the seeds: `comparison`."""
    target = Store(store)
    runs = {variant: [target.get(ref) for ref in refs] for variant, refs in made.items()}
    return job_report(compare(target, name, runs, pairs, once))


def _trained_run(made: Sequence[JobReport]) -> str:
    return next(name_of(each) for each in made if each.kind == "training_run")


def _expected(paper: str, known: Table) -> Expected:
    """The paper's top-1 per variant and dataset."""
    return {
        variant: {
            dataset: recipe(f"{paper}_{dataset}_{variant}").expected_top1
            for dataset in known.datasets
        }
        for variant in known.variants
    }
