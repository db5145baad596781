"""Several seeds of several variants as one table: mean and standard deviation per metric."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa

from artifacts.provenance import InputRef, Provenance
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store

Runs = Mapping[str, Sequence[Artifact]]
"""`metrics` artifacts of each variant, one per seed."""


def compare(store: Store, name: str, runs: Runs) -> Outcome:
    """Publish mean and sample standard deviation of every metric of every variant.

    Raises:
        ValueError: no variant, or variants with different numbers of seeds.
    """
    counts = {variant: len(metrics) for variant, metrics in runs.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(f"every variant needs the same number of seeds, at least one: {counts}")
    provenance = Provenance(
        kind="comparison",
        name=name,
        config={"variants": list(runs), "num_seeds": next(iter(counts.values()))},
        inputs={
            f"{variant}_{seed}": InputRef(
                ref=str(metrics.ref), content_hash=metrics.manifest.content_hash
            )
            for variant, members in runs.items()
            for seed, metrics in enumerate(members)
        },
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    rows = [row for variant, members in runs.items() for row in _rows(variant, members)]
    table = pa.Table.from_pylist(rows, schema=schema_of("comparison").arrow())
    return Outcome(store.publish(provenance, table, counts), made=True)


def markdown(comparison: Artifact, expected: Mapping[str, Mapping[str, float | None]]) -> str:
    """The comparison as a Markdown table, top-1 and top-5 in per cent.

    Args:
        comparison: the artifact.
        expected: per variant the paper's top-1 by column title, in [0, 1].

    Returns:
        One line per variant and, first, frozen CLIP. Without an inference context in its name the
        protocol is that of the paper: all classes together.
    """
    found = {
        (row["variant"], row["protocol"], row["metric"]): row
        for row in comparison.read().to_pylist()
    }
    variants = list(dict.fromkeys(variant for variant, _, _ in found))
    papers = list(next(iter(expected.values()), {}))
    head = ["", "top-1 %", "top-5 %", *(f"paper, {title}" for title in papers)]
    lines = [head, ["---"] * len(head)]
    for protocol in dict.fromkeys(protocol for _, protocol, _ in found):
        if protocol.startswith("zero_shot"):
            cells = [_cell(found[variants[0], protocol, metric]) for metric in ("top1", "top5")]
            title = protocol.replace("zero_shot/", "frozen CLIP, ")
            lines.append([title, *cells, *[""] * len(papers)])
    for variant in variants:
        protocol = "mgdm/all" if (variant, "mgdm/all", "top1") in found else "mgdm"
        cells = [_cell(found[variant, protocol, metric]) for metric in ("top1", "top5")]
        values = expected.get(variant, {})
        known = ["" if (v := values.get(title)) is None else f"{100 * v:.1f}" for title in papers]
        lines.append([variant.replace("_", " "), *cells, *known])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _rows(variant: str, members: Sequence[Artifact]) -> list[dict[str, object]]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for metrics in members:
        for row in metrics.read().to_pylist():
            values[row["protocol"], row["metric"]].append(row["value"])
    return [
        {
            "variant": variant,
            "protocol": protocol,
            "metric": metric,
            "mean": statistics.fmean(each),
            "std": statistics.stdev(each) if len(each) > 1 else 0.0,
            "values": each,
        }
        for (protocol, metric), each in values.items()
    ]


def _cell(row: dict[str, float]) -> str:
    return f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"
