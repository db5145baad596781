"""Several seeds, splits or draws of several variants as one table: mean and deviation."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import InputRef, Provenance
from artifacts.store import Store
from training.evaluation.tables.pairs import Pair, mean_pair_accuracy

Runs = Mapping[str, Sequence[Artifact]]
"""`metrics` artifacts of each variant, one per seed, split or draw."""


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
        pairs: groups of class pairs that look alike; `mean_pair_accuracy`
            of each group becomes a metric of that name.
        once: variants that come out the same with every seed, of which one run is all there is.

    Raises:
        ValueError: no variant, variants with different numbers of runs, an artifact of another kind
            or given twice, one run twice on the same videos, splits of different names within a
            variant, metrics of different kinds, or a protocol that one run of a variant has and
            another lacks.
    """
    counts = check_runs(runs, once)
    _check_same_metrics(runs)
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
        _check_draws(variant, members)
    return counts


def _check_draws(variant: str, members: Sequence[Artifact]) -> None:
    """Refuse scores that are no repetition of each other, whose deviation would say nothing."""
    seen: dict[tuple[str, str], Artifact] = {}
    for metrics in members:
        check_same_split(variant, members[0], metrics)
        scored = scored_from(metrics)
        made_by = scored.get("run") or scored.get("frames")  # of frozen CLIP alone
        if made_by is None or "videos" not in scored:
            continue
        other = seen.setdefault((made_by.ref, scored["videos"].ref), metrics)
        if other is not metrics:
            raise ValueError(
                f"{variant}: {other.ref} and {metrics.ref} are both of {made_by.ref} on "
                f"{scored['videos'].ref}, no two draws; leave one out, or make it a variant of its "
                "own"
            )


def check_same_split(variant: str, one: Artifact, other: Artifact) -> None:
    """Refuse scores of splits with different names.

    Raises:
        ValueError: they are.
    """
    splits = [
        ", ".join(sorted(set(each.read(["split"])["split"].to_pylist()))) for each in (one, other)
    ]
    if splits[0] != splits[1]:
        raise ValueError(
            f"{variant}: {one.ref} is of split {splits[0]} and {other.ref} of split {splits[1]}; "
            "give metrics of the same split"
        )


def scored_from(metrics: Artifact) -> dict[str, InputRef]:
    """What was read to score a run, by role; empty where the store does not have it any more."""
    if (predictions := metrics.manifest.inputs.get("predictions")) is None:
        return metrics.manifest.inputs
    try:
        return metrics.store.get(predictions.ref).manifest.inputs
    except ValueError:
        return {}


def _check_same_metrics(runs: Runs) -> None:
    """Refuse scores that fill different columns, such as those of few-shot episodes and a split."""
    members = [metrics for each in runs.values() for metrics in each]
    found = [sorted(set(each.read(["metric"])["metric"].to_pylist())) for each in members]
    for metrics, names in zip(members, found, strict=True):
        if names != found[0]:
            raise ValueError(
                f"{members[0].ref} has {', '.join(found[0])} and {metrics.ref} has "
                f"{', '.join(names)}, which makes no table; summarise them apart: few-shot "
                "episodes, splits with one class per video, splits with several"
            )


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
