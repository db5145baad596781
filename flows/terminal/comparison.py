"""A comparison as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import typer

from artifacts.artifact import Artifact
from artifacts.store import Store
from artifacts.views.comparison import Line, Spread, lines
from artifacts.views.metrics import UNREADABLE
from flows.orchestration.console import print_json
from flows.orchestration.report import JobReport
from flows.terminal.cells import markdown_table, metric_title, percent
from flows.terminal.work import show_reports

Expected = Mapping[str, Mapping[str, float | None]]
"""Per variant the paper's top-1 by column title, in [0, 1]."""


def show_summary(store: str, made: Sequence[JobReport], as_json: bool) -> None:
    """The one comparison that `actionlore summarise` made or found."""
    [comparison] = [Store(store).get(each.ref) for each in made]
    if as_json:
        read = {role: item.ref for role, item in comparison.manifest.inputs.items()}
        print_json({"artifact": str(comparison.ref), "read": read, "rows": lines(comparison)})
        return
    show_reports(made, store)
    typer.echo(f"\n{markdown(comparison, {})}")


def markdown(comparison: Artifact, expected: Expected) -> str:
    """The lines of `artifacts.views.comparison`, all metrics in per cent.

    `unreadable` is there if videos could not be scored, of which the accuracies say nothing.

    The deviation of a single run among several is `-`.

    Args:
        comparison: the artifact.
        expected: shown beside, in the first line of each variant.
    """
    found = lines(comparison)
    names = list(dict.fromkeys(name for line in found for name in line.metrics))
    if not any(line.metrics[UNREADABLE].mean for line in found if UNREADABLE in line.metrics):
        names = [name for name in names if name != UNREADABLE]
    alone = " ± -" if comparison.manifest.config.get("num_seeds", 1) > 1 else ""
    papers = list(next(iter(expected.values()), {}))
    titles = _titles(found)
    rows, told = [], set[str]()
    for line, title in zip(found, titles, strict=True):
        known: Mapping[str, float | None] = {}
        if not line.is_frozen and line.wise_ft is None and line.variants[0] not in told:
            told.add(line.variants[0])
            known = expected.get(line.variants[0], {})
        cells = [_cell(line.metrics.get(name), alone) for name in names]
        rows.append([title, *cells, *(percent(known.get(paper)) for paper in papers)])
    head = [f"{metric_title(name)} %" for name in names]
    return markdown_table(["", *head, *(f"paper, {paper}" for paper in papers)], rows)


def _titles(found: list[Line]) -> list[str]:
    """Frozen CLIP's names its variants where they differ, or where one has no line of its own.

    A variant's names its protocol where there are several, such as `k7, self`.
    """
    frozen = Counter(line.protocol for line in found if line.is_frozen)
    trained = [line for line in found if not line.is_frozen]
    own = {line.variants[0] for line in trained}
    protocols = Counter(line.variants[0] for line in trained if line.wise_ft is None)
    titles = []
    for line in found:
        variants = ", ".join(each.replace("_", " ") for each in line.variants)
        if line.is_frozen:
            what = line.protocol.removeprefix("zero_shot/").removesuffix("/frozen_clip")
            named = frozen[line.protocol] > 1 or not own.issuperset(line.variants)
            titles.append(f"frozen CLIP, {what}" + (f" ({variants})" if named else ""))
            continue
        protocol = line.protocol.partition("@")[0].rpartition("/")[2]
        titles.append(variants + (f", {protocol}" if protocols[line.variants[0]] > 1 else ""))
        if line.wise_ft is not None:
            titles[-1] += f", WiSE-FT {line.wise_ft}"
    return titles


def _cell(spread: Spread | None, alone: str) -> str:
    if spread is None:
        return ""
    deviation = f" ± {percent(spread.std)}" if len(spread.values) > 1 else alone
    return percent(spread.mean) + deviation
