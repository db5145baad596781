"""Several seeds, splits or draws of several variants as one table: mean and deviation."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import InputRef, Provenance
from artifacts.store import Store
from training.evaluation.pairs import Pair, mean_pair_accuracy

Runs = Mapping[str, Sequence[Artifact]]
"""`metrics` artifacts of each variant, one per seed, split or draw."""

Expected = Mapping[str, Mapping[str, float | None]]
"""Per variant the paper's top-1 by column title, in [0, 1]."""


ONCE = " ± -"
"""Ends the cell of a variant that was run once, among others that were run several times."""


def compare(
    store: Store,
    name: str,
    runs: Runs,
    pairs: Mapping[str, Sequence[Pair]],
    once: Collection[str] = (),
) -> Outcome:
    """Publish mean and sample standard deviation of every metric of every variant.

    Args:
        store: where to look and publish.
        name: of the artifact.
        runs: what to compare.
        pairs: groups of class pairs that look alike; `training.evaluation.pairs.mean_pair_accuracy`
            of each group becomes a metric of that name.
        once: variants that come out the same with every seed, of which one run is all there is.

    Raises:
        ValueError: no variant, variants with different numbers of runs, an artifact of another kind
            or given twice, or a protocol that one run of a variant has and another lacks.
    """
    counts = check_runs(runs, once)
    provenance = Provenance(
        kind="comparison",
        name=name,
        config={
            "variants": list(runs),
            "num_seeds": max(counts.values()),
            "pairs": {group: [list(pair) for pair in members] for group, members in pairs.items()},
        },
        inputs=inputs_by_variant(runs),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    values = {variant: _values(variant, members, pairs) for variant, members in runs.items()}
    return publish(store, provenance, values, counts)


def check_runs(runs: Runs, once: Collection[str] = ()) -> dict[str, int]:
    """The number of runs by variant, the same for all but those of which there is one.

    Raises:
        ValueError: as for `compare`, but for the protocols.
    """
    counts = {variant: len(metrics) for variant, metrics in runs.items()}
    several = {number for variant, number in counts.items() if variant not in once}
    if (
        len(several) > 1
        or not counts
        or 0 in several
        or any(counts.get(each) != 1 for each in once)
    ):
        raise ValueError(f"every variant needs the same number of seeds, at least one: {counts}")
    for variant, members in runs.items():
        for i, metrics in enumerate(members):
            if metrics.manifest.kind != "metrics":
                raise ValueError(f"{variant}: {metrics.ref} is no metrics artifact; give metrics")
            if metrics.ref in [other.ref for other in members[:i]]:
                raise ValueError(f"{variant}: {metrics.ref} is given twice; leave one out")
    return counts


def inputs_by_variant(runs: Runs, part: str = "") -> dict[str, InputRef]:
    """Provenance inputs of all runs, as VARIANT_[PART_]NUMBER."""
    return {
        f"{variant}_{part}{number}": InputRef(
            ref=str(metrics.ref), content_hash=metrics.manifest.content_hash
        )
        for variant, members in runs.items()
        for number, metrics in enumerate(members)
    }


def publish(
    store: Store,
    provenance: Provenance,
    values: Mapping[str, Mapping[tuple[str, str], Sequence[float]]],
    report: Mapping[str, Any],
) -> Outcome:
    """Publish mean and sample standard deviation.

    Args:
        store: where to.
        provenance: of the `comparison`.
        values: by variant, then by protocol and metric; one per run.
        report: of the artifact.
    """
    rows = [
        {
            "variant": variant,
            "protocol": protocol,
            "metric": metric,
            "mean": statistics.fmean(each),
            "std": statistics.stdev(each) if len(each) > 1 else 0.0,
            "values": each,
        }
        for variant, found in values.items()
        for (protocol, metric), each in found.items()
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("comparison").arrow())
    return Outcome(store.publish(provenance, table, dict(report)), made=True)


def values_of(variant: str, members: Sequence[Artifact]) -> dict[tuple[str, str], list[float]]:
    """Values by protocol and metric, one per run in the order given.

    Raises:
        ValueError: a run lacks a protocol or metric that another one has.
    """
    found = [
        {(row["protocol"], row["metric"]): row["value"] for row in metrics.read().to_pylist()}
        for metrics in members
    ]
    for key in dict.fromkeys(key for each in found for key in each):
        lacking = [m.ref for m, each in zip(members, found, strict=True) if key not in each]
        if lacking:
            having = next(m.ref for m, each in zip(members, found, strict=True) if key in each)
            raise ValueError(
                f"{variant}: {lacking[0]} has no {' '.join(key)}, which {having} has; evaluate all "
                "of them in the same way"
            )
    return {key: [each[key] for each in found] for key in found[0]}


def _values(
    variant: str, members: Sequence[Artifact], pairs: Mapping[str, Sequence[Pair]]
) -> dict[tuple[str, str], list[float]]:
    values = values_of(variant, members)
    for metrics in members if pairs else ():
        predictions = metrics.store.get(metrics.manifest.inputs["predictions"].ref)
        for key, share in mean_pair_accuracy(predictions, pairs).items():
            values.setdefault(key, []).append(share)
    return values


def markdown(comparison: Artifact, expected: Expected) -> str:
    """The comparison as a Markdown table, all metrics but `unreadable` in per cent.

    Args:
        comparison: the artifact.
        expected: shown beside.

    Returns:
        Mean ± deviation, which is `-` of a single run among several. First frozen CLIP, once where
        it is the same for all variants; then a line per variant, and one for each WiSE-FT of it. Of
        several inference contexts it is that of the paper: all classes together.
    """
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for row in comparison.read().to_pylist():
        found[row["variant"], row["protocol"]][row["metric"]] = row
    lone = ONCE if comparison.manifest.config["num_seeds"] > 1 else ""
    metrics = list(dict.fromkeys(metric for row in found.values() for metric in row))
    metrics = [metric for metric in metrics if metric != "unreadable"]
    papers = list(next(iter(expected.values()), {}))

    def cells(variant: str, protocol: str) -> tuple[str, ...]:
        row = found[variant, protocol]
        return tuple(_cell(row[metric], lone) if metric in row else "" for metric in metrics)

    lines = [[title, *shown, *[""] * len(papers)] for title, shown in _frozen(list(found), cells)]
    for variant in dict.fromkeys(variant for variant, _ in found):
        own = _own_protocol({each: len(row) for (of, each), row in found.items() if of == variant})
        values = expected.get(variant, {})
        known = ["" if (v := values.get(title)) is None else f"{100 * v:.1f}" for title in papers]
        title = variant.replace("_", " ")
        lines.append([title, *cells(variant, own), *known])
        for protocol in [p for of, p in found if of == variant and p.startswith(f"{own}@")]:
            title_at = f"{title}, WiSE-FT {protocol.removeprefix(f'{own}@')}"
            lines.append([title_at, *cells(variant, protocol), *[""] * len(papers)])
    titles = [f"{metric.replace('top', 'top-').replace('_', ' ')} %" for metric in metrics]
    return markdown_table(["", *titles, *(f"paper, {title}" for title in papers)], lines)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table as Markdown, without a final line end."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def is_frozen(protocol: str) -> bool:
    """Whether a protocol is of frozen CLIP: zero-shot, or its embeddings in few-shot episodes."""
    return protocol.startswith("zero_shot") or protocol.endswith("/frozen_clip")


def _frozen(
    found: Sequence[tuple[str, str]], cells: Callable[[str, str], tuple[str, ...]]
) -> list[tuple[str, tuple[str, ...]]]:
    """Title and cells of frozen CLIP; with the variants where they differ, as with other videos.

    A variant that was run once joins those whose means are its own.
    """
    lines = []
    for protocol in dict.fromkeys(protocol for _, protocol in found):
        if not is_frozen(protocol):
            continue
        by_cells: dict[tuple[str, ...], list[str]] = defaultdict(list)
        shown_by = {variant: cells(variant, protocol) for variant, p in found if p == protocol}
        for variant, shown in sorted(shown_by.items(), key=lambda each: _is_lone(each[1])):
            if _is_lone(shown):
                shown = next((each for each in by_cells if _means(each) == _means(shown)), shown)
            by_cells[shown].append(variant.replace("_", " "))
        title = f"frozen CLIP, {protocol.removeprefix('zero_shot/').removesuffix('/frozen_clip')}"
        for shown, variants in by_cells.items():
            whose = f" ({', '.join(variants)})" if len(by_cells) > 1 else ""
            lines.append((title + whose, shown))
    return lines


def _is_lone(shown: tuple[str, ...]) -> bool:
    return any(cell.endswith(ONCE) for cell in shown)


def _means(shown: tuple[str, ...]) -> list[str]:
    return [cell.partition(" ± ")[0] for cell in shown]


def _own_protocol(num_metrics: Mapping[str, int]) -> str:
    """That of the model as trained; of several inference contexts the one with all classes.

    Args:
        num_metrics: by protocol; of class pairs there are some of every context.
    """
    own = [each for each in num_metrics if not is_frozen(each) and "@" not in each]
    return min(own, key=lambda each: (-num_metrics[each], not each.endswith("/all"), each))


def _cell(row: Mapping[str, Any], lone: str) -> str:
    spread = f" ± {100 * row['std']:.1f}" if len(row["values"]) > 1 else lone
    return f"{100 * row['mean']:.1f}{spread}"
