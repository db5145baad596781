"""From base classes to novel ones: what a run keeps and what it can do beyond its training.

A run is trained on base classes and scored on both parts, each against its own class list. Source:
Zhou et al., "Conditional prompt learning for vision-language models", CVPR 2022; for videos Rasheed
et al., "Fine-tuned CLIP models are efficient video learners", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifacts.artifact import Artifact, Outcome, ReadableStore
from artifacts.provenance import InputRef, Provenance
from artifacts.store import Store
from training.evaluation.tables.comparison import (
    Runs,
    check_runs,
    check_same_split,
    inputs_by_variant,
    publish,
    scored_from,
    values_of,
)


def harmonic_mean(base: float, novel: float) -> float:
    """2 bn / (b + n); 0 where both are 0."""
    return 2 * base * novel / (base + novel) if base + novel else 0.0


def compare_base_to_novel(store: Store, name: str, base: Runs, novel: Runs) -> Outcome:
    """Publish `base_top1`, `novel_top1` and `harmonic_mean` of every variant and protocol.

    The harmonic mean is that of each pair; mean and deviation are over the pairs. A protocol that
    only one part has, such as WiSE-FT on novel classes, is left out and named in the report.

    Args:
        store: where to look and publish.
        name: of the `comparison`.
        base: metrics on base classes by variant.
        novel: those on novel classes, in the same order.

    Raises:
        ValueError: other variants or numbers on one side, a pair of different runs, of different
            splits or with a class in common, base classes that the run was not trained on, novel
            ones that it was, no protocol in common, or as for
            `training.evaluation.tables.comparison.compare`.
    """
    counts = _check_parts(base, novel)
    provenance = Provenance(
        kind="comparison",
        name=name,
        config={
            "variants": list(base),
            "num_seeds": next(iter(counts.values())),
            "parts": ["base", "novel"],
        },
        inputs=inputs_by_variant(base, "base_") | inputs_by_variant(novel, "novel_"),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    values: dict[str, dict[tuple[str, str], list[float]]] = {}
    alone: dict[str, str] = {}
    for variant in base:
        parts = [_top1(variant, each[variant]) for each in (base, novel)]
        common = [protocol for protocol in parts[0] if protocol in parts[1]]
        if not common:
            raise ValueError(
                f"{variant}: base has top1 of {', '.join(parts[0]) or 'no protocol'}, novel of "
                f"{', '.join(parts[1]) or 'no protocol'}; give metrics of the same single-label run"
            )
        if rest := [each for each in (*parts[0], *parts[1]) if each not in common]:
            alone[variant] = ", ".join(rest)
        values[variant] = {}
        for protocol in common:
            pairs = list(zip(parts[0][protocol], parts[1][protocol], strict=True))
            values[variant] |= {
                (protocol, "base_top1"): [b for b, _ in pairs],
                (protocol, "novel_top1"): [n for _, n in pairs],
                (protocol, "harmonic_mean"): [harmonic_mean(b, n) for b, n in pairs],
            }
    return publish(store, provenance, values, counts | {"protocols_of_one_part": alone})


def _check_parts(base: Runs, novel: Runs) -> dict[str, int]:
    if set(base) != set(novel):
        odd = sorted(set(base) ^ set(novel))[0]
        raise ValueError(f"{odd} is given for one of base and novel only; give both")
    counts = check_runs(base)
    for variant, number in check_runs(novel).items():
        if number != counts[variant]:
            raise ValueError(
                f"{variant} has {counts[variant]} metrics of base classes and {number} of novel "
                "ones; they are paired in order, give equally many"
            )
    for variant in base:
        for one, other in zip(base[variant], novel[variant], strict=True):
            _check_pair(variant, one, other)
    return counts


def _check_pair(variant: str, base: Artifact, novel: Artifact) -> None:
    if base.ref == novel.ref:
        raise ValueError(
            f"{variant}: {base.ref} is given as base and as novel; give as novel what "
            "`actionlore evaluate RUN --data NOVEL` made"
        )
    if _run_of(base) != _run_of(novel):
        raise ValueError(
            f"{variant}: {base.ref} and {novel.ref} are a pair and of different runs; give "
            "base and novel in the same order"
        )
    if common := sorted(_class_names(base) & _class_names(novel)):
        raise ValueError(
            f"{variant}: {base.ref} and {novel.ref} both have the class {common[0]!r}, so it is "
            "not novel; score the run on a dataset of other classes"
        )
    check_same_split(variant, base, novel)
    _check_trained(variant, base, novel)


def _check_trained(variant: str, base: Artifact, novel: Artifact) -> None:
    """Base classes are those that the run was trained on, by name, and novel ones are others."""
    run = _found(base.store, scored_from(base).get("run"))
    if run is None or not (own := _names(base.store, run.manifest.inputs)):
        return
    if unseen := sorted(_class_names(base) - own):
        raise ValueError(
            f"{variant}: {base.ref} is given as base and has the class {unseen[0]!r}, which "
            f"{run.ref} was not trained on; give as base its score on its own dataset, and as "
            "novel that on the other one"
        )
    if seen := sorted(_class_names(novel) & own):
        raise ValueError(
            f"{variant}: {novel.ref} is given as novel and has the class {seen[0]!r}, which "
            f"{run.ref} was trained on; give as novel its score on a dataset of other classes"
        )


def _class_names(metrics: Artifact) -> set[str]:
    """Names of the classes that videos were told apart from; empty where that is not known."""
    return _names(metrics.store, scored_from(metrics))


def _names(store: ReadableStore, inputs: Mapping[str, InputRef]) -> set[str]:
    classes = _found(store, inputs.get("classes"))
    return set() if classes is None else set(classes.read(["name"])["name"].to_pylist())


def _found(store: ReadableStore, source: InputRef | None) -> Artifact | None:
    """An artifact of the lineage; None where the store does not have it any more."""
    if source is None:
        return None
    try:
        return store.get(source.ref)
    except ValueError:
        return None


def _run_of(metrics: Artifact) -> str:
    """Ref of the run that was scored.

    Raises:
        ValueError: metrics that were not made from predictions of a split.
    """
    if "predictions" not in metrics.manifest.inputs:
        raise ValueError(
            f"{metrics.ref} was measured on few-shot episodes, not on a split; give metrics of "
            "`actionlore evaluate`"
        )
    predictions = metrics.store.get(metrics.manifest.inputs["predictions"].ref)
    return predictions.manifest.inputs["run"].ref


def _top1(variant: str, members: Sequence[Artifact]) -> dict[str, list[float]]:
    values = values_of(variant, members)
    return {protocol: each for (protocol, metric), each in values.items() if metric == "top1"}
