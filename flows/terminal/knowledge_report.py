"""What `actionlore report` prints."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table

from artifacts.artifact import Artifact
from artifacts.store import Store
from flows.orchestration.console import console
from knowledge.extraction.report.comparison import Score, TruthReport
from knowledge.extraction.report.report import KnowledgeReport, knowledge_report


def report(store: str, ref: str, truth: str | None, as_json: bool) -> None:
    """An artifact's coverage, agreement and cost, and how it compares with ground truth.

    Args:
        store: where it is.
        ref: KIND/NAME or KIND/NAME@KEY.
        truth: a ref of `videos`, or a path that ends in .csv.
        as_json: print one JSON object instead of tables.

    Raises:
        ValueError: nothing of that name, or a truth that does not fit.
    """
    target = Store(store)
    source: Artifact | Path | None = None
    if truth is not None:
        source = Path(truth) if truth.lower().endswith(".csv") else target.get(truth)
    found = knowledge_report(target, target.get(ref), source)
    if as_json:
        typer.echo(found.model_dump_json(indent=1))
        return
    console.print(f"[bold]{found.ref}[/bold]: {found.rows} rows about {found.classes} classes")
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _lines(found):
        table.add_row(name, value)
    console.print(table)
    if found.truth:
        console.print(_truth_table(found.truth))


def _lines(found: KnowledgeReport) -> list[tuple[str, str]]:
    lines = [
        (
            "coverage",
            "unknown" if found.coverage is None else f"{found.coverage:.1%} of the classes",
        ),
        ("unanswered", _names(found.unanswered_classes)),
        ("replies dropped", _counts(found.drops)),
    ]
    if agreement := found.agreement:
        asymmetry = agreement.get("asymmetry") or {}
        pairs = f"{_share(asymmetry.get('share'))} of {_known(asymmetry.get('pairs'))}"
        lines += [
            ("names left out", _counts(found.names_left_out)),
            ("alpha between rounds", _number(agreement.get("alpha"))),
            ("unanimous pairs", _share(agreement.get("unanimous"))),
            ("mean vote margin", _number(agreement.get("margin"))),
            ("asymmetric pairs", pairs),
            ("noise by asymmetry", _share(asymmetry.get("noise"))),
            ("repeated rounds", _share(found.repeated_rounds)),
        ]
    lines.append(("warnings", _counts(found.warnings)))
    if calls := found.calls:
        usd = "price unknown" if calls.usd is None else f"{calls.usd:.4f} US dollars"
        told = {name: _known(value) for name, value in calls.model_dump().items()}
        for name, form in (
            ("asked", "{model} at {endpoint}"),
            ("requests", "{requests}, {not_needed} not needed, {asked_again} again"),
            ("attempts", "{attempts}, {calls_per_second} a second in the last run"),
            ("possibly billed", "{possibly_billed} attempts without a reply"),
            ("tokens", "{prompt_tokens} prompt, {completion_tokens} completion"),
        ):
            lines.append((name, form.format(**told)))
        lines.append(("cost", usd))
    return lines


def _truth_table(truth: TruthReport) -> Table:
    table = Table(
        f"against {truth.source}: {truth.true_pairs} true pairs of {truth.classes} classes",
        *Score.model_fields,
        box=None,
        pad_edge=False,
    )
    rows = {f"precision at {k}": score for k, score in truth.precision.items()}
    rows |= {"recall of selected": truth.recall, "rank correlation": truth.rank_correlation}
    if lift := truth.lift:
        rows |= {
            "mean lift of selected": lift.mean,
            "share with lift > 1": lift.above_one,
            "rank correlation with lift": lift.rank_correlation,
        }
    for name, score in rows.items():
        table.add_row(name, *(_number(value) for value in score.model_dump().values()))
    return table


def _known(value: float | str | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _names(names: list[str] | None) -> str:
    return "unknown" if names is None else ", ".join(names) or "none"


def _counts(counts: dict[str, int] | dict[str, float] | None) -> str:
    if counts is None:
        return "unknown"
    named = [f"{name} {value:.4g}" for name, value in counts.items() if value]
    return ", ".join(named) or "none"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
