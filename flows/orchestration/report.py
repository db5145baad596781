"""What a task hands on and shows: a ref and the work done, never data."""

from __future__ import annotations

from pydantic import Field

from artifacts.artifact import Outcome
from artifacts.frozen import Frozen


class JobReport(Frozen):
    """What a finished job made or found."""

    ref: str
    num_rows: int
    made: bool
    """False when it was found by its key."""
    work: dict[str, int] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    """What the job reported."""
    read: dict[str, str] = Field(default_factory=dict)
    """Refs of what it was made from, by role."""

    @property
    def kind(self) -> str:
        """Kind of the artifact."""
        return self.ref.split("/")[0]


def job_report(outcome: Outcome) -> JobReport:
    """Report of a job's outcome; the artifact itself stays in the store.

    It becomes the one that its name means there, be it made or found: a command that runs next and
    is given the name reads what was just run.
    """
    outcome.artifact.store.use(outcome.artifact)
    manifest = outcome.artifact.manifest
    notes = {name: _plain(value) for name, value in (manifest.report | manifest.facts).items()}
    return JobReport(
        ref=str(outcome.artifact.ref),
        made=outcome.made,
        num_rows=manifest.num_rows,
        work=dict(outcome.work),
        notes={name: text for name, text in notes.items() if text},
        read={role: item.ref for role, item in manifest.inputs.items()},
    )


def name_of(made: JobReport) -> str:
    """NAME@KEY of an artifact."""
    return made.ref.split("/", 1)[1]


def _plain(value: object) -> str:
    """Text of a count or a table of counts; empty for what is zero, empty or not a count."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, each in value.items() if (text := _plain(each)))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, int | str) and value else ""
