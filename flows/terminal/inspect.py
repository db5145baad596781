"""What `actionlore inspect` and `actionlore recipes` print."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from artifacts.kinds import schema_of
from artifacts.store import Store
from artifacts.views import cooccurrence, difference, negatives, rows
from artifacts.views.lineage import lineage as lineage_of
from flows.orchestration.console import console


def list_artifacts(store: str, kind: str | None) -> None:
    """All artifacts, or those of a kind."""
    target = Store(store)
    for error in target.damaged(kind):
        console.print(str(error), style="red")
    table = Table("artifact", "rows", "created", box=None, pad_edge=False)
    for artifact in target.published(kind):
        manifest = artifact.manifest
        table.add_row(str(artifact.ref), str(manifest.num_rows), manifest.created[:19])
    if not table.row_count:
        console.print(f"store {store} holds no artifacts" + (f" of kind {kind}" if kind else ""))
    else:
        console.print(table)


def show(store: str, ref: str, video: str | None, limit: int) -> None:
    """An artifact's facts and what matters of its rows.

    Of co-occurrence these are the strongest pairs, of negatives the number of candidates by status
    and the hardest of the first videos, of all else the first rows.
    """
    artifact = Store(store).get(ref)
    manifest = artifact.manifest
    console.print(f"{artifact.ref}: {manifest.num_rows} rows, each {schema_of(manifest.kind).row}")
    console.print(f"config {manifest.config}", style="dim")
    console.print(f"report {manifest.report}", style="dim")
    if video is not None:
        _print_rows(negatives.negatives_of(artifact, video, limit))
    elif manifest.kind == "negatives":
        _print_rows(negatives.candidates_by_status(artifact))
        _print_rows(negatives.nearest_negatives(artifact, limit))
    elif manifest.kind == "cooccurrence":
        _print_rows(cooccurrence.strongest_pairs(artifact, limit))
    else:
        _print_rows(rows.rows(artifact, limit))


def compare(store: str, before: str, after: str, limit: int) -> None:
    """What changed between two artifacts of one kind."""
    target = Store(store)
    artifacts = target.get(before), target.get(after)
    found = difference.compare(*artifacts, limit)
    console.print(f"{artifacts[0].ref} -> {artifacts[1].ref}")
    for what, fact in found.facts.items():
        console.print(f"{what}: {fact}", markup=False)
    for title, changed in found.tables.items():
        console.print(f"\n{title}", style="bold")
        _print_rows(changed)


def lineage(store: str, ref: str) -> None:
    """The tree of everything an artifact was made from."""
    target = Store(store)
    branches: list[Tree] = []
    for depth, role, name, artifact in lineage_of(target, target.get(ref)):
        size = f"{artifact.manifest.num_rows} rows" if artifact else "not in this store"
        label = f"{role + ': ' if role else ''}{name} ({size})"
        del branches[depth:]
        branches.append(branches[-1].add(label) if branches else Tree(label))
    console.print(branches[0])


def verify(store: str, ref: str | None) -> None:
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
    console.print(f"{len(artifacts)} artifacts are what their manifests say")


def recipes() -> None:
    """Every recipe with its dataset, the accuracy it should reach and what it needs."""
    from training.models.recipe import needs
    from training.models.registry import recipe, recipe_names

    table = Table("recipe", "dataset", "CLIP", "top-1", "top-5", "about", box=None, pad_edge=False)
    for name in recipe_names():
        each = recipe(name)
        expected = [
            "" if value is None else f"{100 * value:.1f} %"
            for value in (each.expected_top1, each.expected_top5)
        ]
        if each.expected_map is not None:
            expected[0] = f"mAP {100 * each.expected_map:.1f} %"
        about = f"{each.about}; {needs(each)}"
        table.add_row(name, each.dataset or "any", each.clip or "any", *expected, about)
    console.print(table)


def _print_rows(lines: Sequence[dict[str, str]]) -> None:
    if not lines:
        console.print("no rows")
        return
    table = Table(*lines[0], box=None, pad_edge=False)
    for row in lines:
        table.add_row(*(escape(value) for value in row.values()))
    console.print(table)
