"""Flow `summarise`: scores of several splits, draws or seeds as one table."""

from __future__ import annotations

from collections.abc import Mapping

from artifacts.artifact import Artifact
from artifacts.store import Store
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.specs.evaluate import SummariseSpec
from training.evaluation.tables.base_to_novel import compare_base_to_novel
from training.evaluation.tables.comparison import compare


@task
def summarise_task(store: str, spec: SummariseSpec) -> JobReport:
    """Mean and standard deviation: `comparison`."""
    target = Store(store)
    if bool(spec.of) == bool(spec.base or spec.novel):
        raise ValueError(
            "give --of VARIANT=METRICS, or --base and --novel, which make a table each"
        )
    if spec.of:
        return job_report(compare(target, spec.name, _metrics(target, spec.of), {}))
    base, novel = (_metrics(target, each) for each in (spec.base, spec.novel))
    return job_report(compare_base_to_novel(target, spec.name, base, novel))


def _metrics(store: Store, refs: Mapping[str, tuple[str, ...]]) -> dict[str, list[Artifact]]:
    return {
        variant: [store.get(ref if "/" in ref else f"metrics/{ref}") for ref in members]
        for variant, members in refs.items()
    }


@flow(name="summarise")
def summarise(store: str, spec: SummariseSpec) -> list[JobReport]:
    """Put scores into one table: `comparison`."""
    return [summarise_task(store, spec)]
