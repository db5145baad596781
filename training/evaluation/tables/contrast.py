"""What a change is worth: the difference of two variants, with its interval over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifacts.artifact import Artifact
from artifacts.views.comparison import Line, lines

_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t with 1, 2, ... degrees of freedom, of which 95 % lie within plus and minus it."""

AS_TRAINED = "as trained"
"""Each variant under the protocol it was validated by, in which MGDM's differ."""


@dataclass(frozen=True)
class Contrast:
    """The mean difference of two variants that were run with the same seeds."""

    mean: float
    half_width: float | None
    """Half of its 95 % interval; None with one seed, which has none."""


def contrast(before: Sequence[float], after: Sequence[float]) -> Contrast:
    """After minus before, seed by seed: mean, and t times standard error.

    With more than ten seeds t is that of ten, and the interval a little too wide.

    Raises:
        ValueError: another number of seeds on one side, or none.
    """
    if len(before) != len(after) or not before:
        raise ValueError(
            f"{len(before)} and {len(after)} seeds have no difference seed by seed; give the same "
            "number of both, at least one"
        )
    differences = [b - a for a, b in zip(before, after, strict=True)]
    mean, freedom = statistics.fmean(differences), len(differences) - 1
    if not freedom:
        return Contrast(mean, None)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return Contrast(mean, _T_95[min(freedom, len(_T_95)) - 1] * error)


def contrasts(comparison: Artifact, before: str, after: str, metric: str) -> dict[str, Contrast]:
    """The difference of two variants as trained, and under each protocol that both have.

    Args:
        comparison: holds both.
        before: a variant.
        after: another one.
        metric: such as `top1`.

    Returns:
        By protocol; `AS_TRAINED` comes first.

    Raises:
        ValueError: a variant is not there.
    """
    own = {variant: _values(comparison, variant, metric) for variant in (before, after)}
    found = {AS_TRAINED: contrast(*(next(iter(each.values())) for each in own.values()))}
    common = [protocol for protocol in own[before] if protocol in own[after]]
    return found | {each: contrast(own[before][each], own[after][each]) for each in common}


def _values(comparison: Artifact, variant: str, metric: str) -> Mapping[str, list[float]]:
    found: list[Line] = [
        line
        for line in lines(comparison)
        if not line.is_frozen and line.wise_ft is None and line.variants == [variant]
    ]
    if not found:
        raise ValueError(f"{comparison.ref} has no variant {variant!r} of a trained model")
    return {line.protocol: line.metrics[metric].values for line in found}
