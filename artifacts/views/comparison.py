"""What a comparison says: a line for frozen CLIP and for each variant, with its weights between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.artifact import Artifact
from artifacts.views.metrics import is_frozen


@dataclass(frozen=True)
class Spread:
    """A metric over the runs of a variant."""

    mean: float
    std: float
    """Sample standard deviation; 0 for one run."""
    values: list[float]
    """One per run."""


@dataclass(frozen=True)
class Line:
    """How well one protocol did for a variant, or frozen CLIP for several."""

    variants: list[str]
    """One; of frozen CLIP all with the same metrics."""
    protocol: str
    is_frozen: bool
    """Frozen CLIP's, whatever was trained."""
    wise_ft: str | None
    """Share of the trained weights, where the others are frozen CLIP's; None: as trained."""
    metrics: dict[str, Spread]
    """By name, in [0, 1]."""


def lines(comparison: Artifact) -> list[Line]:
    """First frozen CLIP, once where it is the same for all variants; then variant by variant.

    A variant has each of its protocols, such as MGDM's inference contexts, in the artifact's order:
    the one it was validated by comes first. Below it stand those with weights of WiSE-FT. Where
    few-shot embeddings are frozen CLIP's own there is no line of the variant.

    Raises:
        ValueError: not a comparison.
    """
    if comparison.manifest.kind != "comparison":
        raise ValueError(f"{comparison.ref} is not a comparison artifact")
    found: dict[str, dict[str, dict[str, Spread]]] = {}
    for row in comparison.read().to_pylist():
        of_variant = found.setdefault(row["variant"], {})
        spread = Spread(row["mean"], row["std"], row["values"])
        of_variant.setdefault(row["protocol"], {})[row["metric"]] = spread
    shown = _frozen(found)
    for variant, by_protocol in found.items():
        for own in own_protocols({protocol: len(each) for protocol, each in by_protocol.items()}):
            shown.append(Line([variant], own, False, None, by_protocol[own]))
            for protocol, metrics in by_protocol.items():
                if protocol.startswith(f"{own}@"):
                    alpha = protocol.removeprefix(f"{own}@")
                    shown.append(Line([variant], protocol, False, alpha, metrics))
    return shown


def own_protocols(num_metrics: Mapping[str, int]) -> list[str]:
    """Those of the model as trained, in their order; none where all are frozen CLIP's.

    Args:
        num_metrics: by protocol; a protocol of which there are but class pairs has no line.
    """
    own = [each for each in num_metrics if not is_frozen(each) and "@" not in each]
    most = max((num_metrics[each] for each in own), default=0)
    return [each for each in own if num_metrics[each] == most]


def _frozen(found: Mapping[str, Mapping[str, dict[str, Spread]]]) -> list[Line]:
    shown: list[Line] = []
    protocols = dict.fromkeys(protocol for each in found.values() for protocol in each)
    for protocol in filter(is_frozen, protocols):
        of_it: list[Line] = []
        having = {v: each[protocol] for v, each in found.items() if protocol in each}
        for variant, metrics in sorted(having.items(), key=lambda each: _is_single(each[1])):
            same = next((line for line in of_it if _are_same(line.metrics, metrics)), None)
            if same is None:
                of_it.append(Line([variant], protocol, True, None, metrics))
            else:
                same.variants.append(variant)
        shown += of_it
    return shown


def _is_single(metrics: Mapping[str, Spread]) -> bool:
    return all(len(spread.values) == 1 for spread in metrics.values())


def _are_same(several: Mapping[str, Spread], metrics: Mapping[str, Spread]) -> bool:
    """Equal; of a variant that was run once, among others, the means are enough."""
    if not _is_single(metrics):
        return several == metrics
    return several.keys() == metrics.keys() and all(
        math.isclose(several[name].mean, spread.mean) for name, spread in metrics.items()
    )
