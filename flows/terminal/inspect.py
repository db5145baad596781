"""What `actionlore inspect` and `actionlore recipes` print: tables, or one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from artifacts.artifact import Artifact
from artifacts.kinds import schema_of
from artifacts.store import Store
from artifacts.views import cooccurrence, difference, negatives, rows
from artifacts.views.lineage import lineage as lineage_of
from artifacts.views.listing import listed
from flows.orchestration.console import console, print_json
from flows.terminal import difference as difference_text
from flows.terminal.cells import (
    Cells,
    as_cells,
    candidate_cells,
    fact_lines,
    nearest_cells,
    pair_cells,
    status_cells,
)
from flows.terminal.next_steps import DEFAULT_STORE
from flows.terminal.work import show_metrics

if TYPE_CHECKING:
    from training.models.recipe import Recipe


CODE_LENGTH = 12
"""Hex digits of a method's code that are shown; with --json all."""


def list_artifacts(store: str, kind: str | None, as_json: bool) -> None:
    """All artifacts, or those of a kind."""
    target = Store(store)
    damaged = [str(error) for error in target.damaged(kind)]
    found = [listed(artifact) for artifact in target.published(kind)]
    if as_json:
        print_json({"rows": found, "damaged": damaged})
        return
    for error in damaged:
        console.print(error, style="red")
    table = Table("artifact", "rows", "created", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.artifact, str(each.num_rows), each.created[:19])
    if not table.row_count:
        console.print(f"store {store} holds no artifacts" + (f" of kind {kind}" if kind else ""))
        return
    console.print(table)
    where = "" if store == DEFAULT_STORE else f" --store {store}"
    console.print(f"\nOne of them: actionlore inspect {found[-1].artifact}{where}", soft_wrap=True)


def show(store: str, ref: str, video: str | None, limit: int, as_json: bool) -> None:
    """An artifact's facts and what matters of its rows.

    Of co-occurrence these are the strongest pairs, of negatives the number of candidates by status
    and the hardest of the first videos, of all else the first rows.
    """
    artifact = Store(store).get(ref)
    manifest = artifact.manifest
    found, tables = _shown(artifact, video, limit)
    if as_json:
        about = {"num_rows": manifest.num_rows, "row": schema_of(manifest.kind).row}
        made = {"config": manifest.config, "facts": manifest.facts, "report": manifest.report}
        print_json({"artifact": str(artifact.ref), **about, **made, **found})
        return
    rows_text = f"{manifest.num_rows} rows, each {schema_of(manifest.kind).row}"
    console.print(f"{artifact.ref}: {rows_text}\n", markup=False)
    report = dict(manifest.report)
    if manifest.kind == "metrics":
        show_metrics([artifact])
        report.pop("metrics", None)
    else:
        for table in tables:
            _print_rows(table)
            console.print()
    made_from = {role: source.ref for role, source in manifest.inputs.items()}
    for title, facts in (
        ("Report", report),
        ("Facts", manifest.facts),
        ("Settings", manifest.config),
        ("Made from", made_from),
    ):
        if lines := fact_lines(facts):
            console.print(f"[bold]{title}:[/bold] {escape('; '.join(lines))}")


def _shown(
    artifact: Artifact, video: str | None, limit: int
) -> tuple[dict[str, Any], list[list[Cells]]]:
    """What is shown of an artifact: facts by name, and the same as tables."""
    if video is not None:
        candidates = negatives.negatives_of(artifact, video, limit)
        return {"rows": candidates}, [list(map(candidate_cells, candidates))]
    if artifact.manifest.kind == "negatives":
        counts = negatives.candidates_by_status(artifact)
        nearest = negatives.nearest_negatives(artifact, limit)
        tables = [list(map(status_cells, counts)), list(map(nearest_cells, nearest))]
        return {"candidates": counts, "rows": nearest}, tables
    if artifact.manifest.kind == "cooccurrence":
        pairs = cooccurrence.strongest_pairs(artifact, limit)
        return {"rows": pairs}, [list(map(pair_cells, pairs))]
    first = rows.rows(artifact, limit)
    return {"rows": first}, [list(map(as_cells, first))]


def compare(store: str, before: str, after: str, limit: int, as_json: bool) -> None:
    """What changed between two artifacts of one kind."""
    target = Store(store)
    found = difference.compare(target.get(before), target.get(after), limit)
    if as_json:
        print_json(vars(found))
        return
    console.print(f"{found.before} -> {found.after}")
    for what, fact in difference_text.lines(found).items():
        console.print(f"{what}: {fact}", markup=False)
    for title, changed in difference_text.tables(found).items():
        console.print(f"\n{title}", style="bold")
        _print_rows(changed)


def lineage(store: str, ref: str, as_json: bool) -> None:
    """The tree of everything an artifact was made from."""
    target = Store(store)
    nodes = list(lineage_of(target, target.get(ref)))
    if as_json:
        print_json({"artifact": nodes[0].artifact, "rows": nodes})
        return
    branches: list[Tree] = []
    for node in nodes:
        size = "not in this store" if node.num_rows is None else f"{node.num_rows} rows"
        size += f", by code {node.code[:CODE_LENGTH]}" if node.code else ""
        label = f"{node.role + ': ' if node.role else ''}{node.artifact} ({size})"
        del branches[node.depth :]
        branches.append(branches[-1].add(label) if branches else Tree(label))
    console.print(branches[0])


def verify(store: str, ref: str | None, as_json: bool) -> None:
    """Read one artifact, or all, against manifest and schema.

    Raises:
        CorruptArtifactError: the first that differs.
    """
    target = Store(store)
    if not ref and (damaged := target.damaged()):
        raise damaged[0]
    artifacts = [target.get(ref)] if ref else target.published()
    for artifact in artifacts:
        artifact.verify()
    unsealed = [str(each.ref) for each in artifacts if each.manifest.sha256 is None]
    if as_json:
        rows = [listed(artifact) for artifact in artifacts]
        print_json({"rows": rows, "manifests_without_sha256": unsealed})
        return
    console.print(f"{len(artifacts)} artifacts are what their manifests say")
    if unsealed:
        console.print(
            f"{len(unsealed)} manifests are older than a manifest's own SHA-256, so files, key and "
            f"content of them are checked, but no report: {', '.join(unsealed)}",
            markup=False,
        )


def recipes(words: Sequence[str], as_json: bool) -> None:
    """Recipes with dataset, the accuracy they should reach and what they need.

    Those with a number to reach come first.

    Args:
        words: only recipes with all of them in name, dataset, CLIP or `about`; all when empty.
        as_json: print one JSON document.

    Raises:
        ValueError: no recipe has the words.
    """
    from training.models.recipe import needs
    from training.models.registry import recipe, recipe_names

    known = {name: recipe(name) for name in recipe_names()}
    found = {name: each for name, each in known.items() if _has(each, words)}
    if not found:
        raise ValueError(
            f"no recipe has {' and '.join(map(repr, words))} in name, dataset, CLIP or "
            "description; `actionlore recipes` lists all"
        )
    known = dict(sorted(found.items(), key=lambda each: not _has_number(each[1])))
    if as_json:
        print_json({"rows": [_recipe_facts(each) for each in known.values()]})
        return
    table = Table("recipe", "dataset", "CLIP", "top-1", "top-5", "about", box=None, pad_edge=False)
    for name, each in known.items():
        expected = [
            "" if value is None else f"{100 * value:.1f} %"
            for value in (each.expected_top1, each.expected_top5)
        ]
        if each.expected_map is not None:
            expected[0] = f"mAP {100 * each.expected_map:.1f} %"
        about = f"{each.about}; {needs(each)}"
        table.add_row(name, each.dataset or "any", each.clip or "any", *expected, about)
    console.print(table)


def _has(recipe: Recipe, words: Sequence[str]) -> bool:
    text = f"{recipe.name} {recipe.dataset or ''} {recipe.clip or ''} {recipe.about}".lower()
    return all(word.lower() in text for word in words)


def _has_number(recipe: Recipe) -> bool:
    return recipe.expected_top1 is not None or recipe.expected_map is not None


def _recipe_facts(recipe: Recipe) -> dict[str, Any]:
    expected = ("expected_top1", "expected_top5", "expected_map")
    facts = (
        "name",
        "dataset",
        "split",
        "clip",
        *expected,
        "hours",
        "start",
        "is_baseline",
        "about",
    )
    stages = [stage.model_dump(mode="json") for stage in recipe.stages]
    return {name: getattr(recipe, name) for name in facts} | {"stages": stages}


def _print_rows(lines: Sequence[Cells]) -> None:
    if not lines:
        console.print("no rows")
        return
    table = Table(*lines[0], box=None, pad_edge=False)
    for row in lines:
        table.add_row(*(escape(value) for value in row.values()))
    console.print(table)
