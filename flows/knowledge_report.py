"""What `actionlore report` prints."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table

from artifacts.store import Artifact, Store
from flows.steps import console
from knowledge.comparison import Score, TruthReport
from knowledge.knowledge_report import KnowledgeReport, knowledge_report


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
        ("coverage", f"{found.coverage:.1%} of the classes"),
        ("unanswered", ", ".join(found.unanswered_classes) or "none"),
        ("replies dropped", _counts(found.drops)),
    ]
    if agreement := found.agreement:
        asymmetry = agreement["asymmetry"]
        lines += [
            ("names left out", _counts(found.names_left_out)),
            ("alpha between rounds", _number(agreement["alpha"])),
            ("unanimous pairs", _share(agreement["unanimous"])),
            ("mean vote margin", _number(agreement["margin"])),
            ("asymmetric pairs", f"{_share(asymmetry['share'])} of {asymmetry['pairs']}"),
            ("noise by asymmetry", _share(asymmetry["noise"])),
            ("repeated rounds", _share(found.repeated_rounds)),
        ]
    lines.append(("warnings", _counts(found.warnings)))
    if calls := found.calls:
        usd = "price unknown" if calls.usd is None else f"{calls.usd:.4f} US dollars"
        lines += [
            ("asked", f"{calls.model} at {calls.endpoint}"),
            (
                "requests",
                f"{calls.requests}, {calls.not_needed} not needed, {calls.asked_again} again",
            ),
            ("attempts", f"{calls.attempts}, {calls.calls_per_second:g} a second in the last run"),
            ("tokens", f"{calls.prompt_tokens} prompt, {calls.completion_tokens} completion"),
            ("cost", usd),
        ]
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


def _counts(counts: dict[str, int] | dict[str, float]) -> str:
    named = [f"{name} {value:.4g}" for name, value in counts.items() if value]
    return ", ".join(named) or "none"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
