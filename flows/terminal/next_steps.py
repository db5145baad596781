"""The commands that follow on what a command has made."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.provenance import ArtifactRef
from flows.orchestration.report import JobReport

DEFAULT_STORE = "store"
_STEPS = {
    "videos": (
        "extract --classes {name}",
        "mine --dataset {name} --videos DIRECTORY --clip ARCH --clip-weights TAG",
    ),
    "cooccurrence": ("inspect cooccurrence/{name}",),
    "descriptions": ("inspect descriptions/{name}",),
    "anatomy": ("inspect anatomy/{name}",),
    "negatives": ("inspect negatives/{name}", "train --dataset {name}"),
    "metrics": ("inspect metrics/{name}",),
    "comparison": ("inspect comparison/{name}",),
}
"""By kind of what a command's user came for, the last of those made."""
_AFTER_TRAINING = "predict {name} VIDEO"


def next_steps(reports: Sequence[JobReport], store: str) -> list[str]:
    """Command lines that follow, with what the user has to fill in as CAPITALS."""
    last = next((each for each in reversed(reports) if each.kind in _STEPS), None)
    if last is None:
        return []
    steps = [step.format(name=_name(last)) for step in _STEPS[last.kind]]
    run = next((each for each in reversed(reports) if each.kind == "training_run"), None)
    if run is not None and last.kind == "metrics":
        steps.append(_AFTER_TRAINING.format(name=_name(run)))
    where = "" if store == DEFAULT_STORE else f" --store {store}"
    return [f"actionlore {step}{where}" for step in steps]


def _name(report: JobReport) -> str:
    return ArtifactRef.parse(report.ref).name
