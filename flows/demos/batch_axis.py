"""What hard negatives are worth at each size of a batch, as Markdown."""

from __future__ import annotations

from artifacts.artifact import Artifact
from flows.terminal.cells import markdown_table
from training.evaluation.tables.contrast import AS_TRAINED, Contrast, contrasts
from training.models.recipe import BatchAxis


def batch_table(comparison: Artifact, axis: BatchAxis, recipes_size: int, num_classes: int) -> str:
    """A line for each size of a batch: top-1 with hard negatives minus top-1 without, in points.

    Args:
        comparison: holds both variants at every size.
        axis: the variants and the further sizes.
        recipes_size: clips in a batch of the recipes.
        num_classes: that there are to be told apart.
    """
    sizes = {size: list(axis.variants(size)) for size in axis.sizes}
    sizes[recipes_size] = [axis.without, axis.with_them]
    found = {
        size: contrasts(comparison, without, with_them, "top1")
        for size, (without, with_them) in sorted(sizes.items())
    }
    titles = list(next(iter(found.values())))
    head = [
        "batch",
        "batch / classes",
        *(each if each == AS_TRAINED else each.rpartition("/")[2] for each in titles),
    ]
    rows = [
        [str(size), f"{size / num_classes:.2f}", *(_cell(each[title]) for title in titles)]
        for size, each in found.items()
    ]
    return (
        f"{axis.with_them} minus {axis.without}, top-1 in points ± half of the 95 % interval over "
        f"seeds, by size of the batch ({num_classes} classes):\n\n{markdown_table(head, rows)}"
    )


def _cell(found: Contrast) -> str:
    width = "" if found.half_width is None else f" ± {100 * found.half_width:.1f}"
    return f"{100 * found.mean:+.1f}{width}"
