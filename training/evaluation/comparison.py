"""Several seeds of several variants as one table: mean and standard deviation per metric."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import InputRef, Provenance
from artifacts.store import Store
from training.evaluation.pairs import Pair, mean_pair_accuracy

Runs = Mapping[str, Sequence[Artifact]]
"""`metrics` artifacts of each variant, one per seed."""

Expected = Mapping[str, Mapping[str, float | None]]
"""Per variant the paper's top-1 by column title, in [0, 1]."""


def compare(store: Store, name: str, runs: Runs, pairs: Mapping[str, Sequence[Pair]]) -> Outcome:
    """Publish mean and sample standard deviation of every metric of every variant.

    Args:
        store: where to look and publish.
        name: of the artifact.
        runs: what to compare.
        pairs: groups of class pairs that look alike; `training.evaluation.pairs.mean_pair_accuracy`
            of each group becomes a metric of that name.

    Raises:
        ValueError: no variant, or variants with different numbers of seeds.
    """
    counts = {variant: len(metrics) for variant, metrics in runs.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise ValueError(f"every variant needs the same number of seeds, at least one: {counts}")
    provenance = Provenance(
        kind="comparison",
        name=name,
        config={
            "variants": list(runs),
            "num_seeds": next(iter(counts.values())),
            "pairs": {group: [list(pair) for pair in members] for group, members in pairs.items()},
        },
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
    rows = [row for variant, members in runs.items() for row in _rows(variant, members, pairs)]
    table = pa.Table.from_pylist(rows, schema=schema_of("comparison").arrow())
    return Outcome(store.publish(provenance, table, counts), made=True)


def markdown(comparison: Artifact, expected: Expected) -> str:
    """The comparison as a Markdown table, all metrics but `unreadable` in per cent.

    Args:
        comparison: the artifact.
        expected: shown beside.

    Returns:
        One line per variant and, first, frozen CLIP. Of several inference contexts it is that of
        the paper: all classes together.
    """
    found = {
        (row["variant"], row["protocol"], row["metric"]): row
        for row in comparison.read().to_pylist()
    }
    variants = list(dict.fromkeys(variant for variant, _, _ in found))
    metrics = [m for m in dict.fromkeys(metric for _, _, metric in found) if m != "unreadable"]
    papers = list(next(iter(expected.values()), {}))

    def line(title: str, variant: str, protocol: str, known: list[str]) -> list[str]:
        return [title, *(_cell(found[variant, protocol, metric]) for metric in metrics), *known]

    titles = [f"{metric.replace('top', 'top-').replace('_', ' ')} %" for metric in metrics]
    lines = []
    for protocol in dict.fromkeys(protocol for _, protocol, _ in found):
        if protocol.startswith("zero_shot"):
            title = protocol.replace("zero_shot/", "frozen CLIP, ")
            lines.append(line(title, variants[0], protocol, [""] * len(papers)))
    for variant in variants:
        protocol = _own_protocol(
            each for of, each, metric in found if (of, metric) == (variant, metrics[0])
        )
        values = expected.get(variant, {})
        known = ["" if (v := values.get(title)) is None else f"{100 * v:.1f}" for title in papers]
        lines.append(line(variant.replace("_", " "), variant, protocol, known))
    return markdown_table(["", *titles, *(f"paper, {title}" for title in papers)], lines)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, without a final line end."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _own_protocol(protocols: Iterable[str]) -> str:
    """That of the model; of several inference contexts the one with all classes."""
    own = sorted({each for each in protocols if not each.startswith("zero_shot")})
    return next((each for each in own if each.endswith("/all")), own[0])


def _rows(
    variant: str, members: Sequence[Artifact], pairs: Mapping[str, Sequence[Pair]]
) -> list[dict[str, object]]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for metrics in members:
        for row in metrics.read().to_pylist():
            values[row["protocol"], row["metric"]].append(row["value"])
        predictions = metrics.store.get(metrics.manifest.inputs["predictions"].ref)
        for (protocol, group), share in mean_pair_accuracy(predictions, pairs).items():
            values[protocol, group].append(share)
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


def _cell(row: dict[str, Any]) -> str:
    spread = f" ± {100 * row['std']:.1f}" if len(row["values"]) > 1 else ""
    return f"{100 * row['mean']:.1f}{spread}"
