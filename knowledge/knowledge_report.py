"""How good extracted knowledge is: coverage, agreement, cost, and the truth where it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.provenance import Frozen
from artifacts.store import Artifact, Store
from knowledge.comparison import TruthReport, compare
from knowledge.ground_truth import truth_of_csv, truth_of_videos
from knowledge.question import read_classes


class Calls(Frozen):
    """What the replies cost, over all runs; the rate is that of the last one."""

    ref: str
    endpoint: str
    model: str
    requests: int
    """Questions of all rounds."""
    not_needed: int
    """Those that early stopping spared."""
    asked_again: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    """What all attempts were charged, with the most that those can have cost of which it is not
    known; None where a price was not known."""
    duration_s: float
    calls_per_second: float


class KnowledgeReport(Frozen):
    """What there is to know about the knowledge in an artifact."""

    ref: str
    kind: str
    classes: int
    coverage: float
    """Share of the classes that were answered usably."""
    unanswered_classes: list[str]
    rows: int
    drops: dict[str, int]
    """Replies left out, by reason."""
    names_left_out: dict[str, int]
    """Names in replies left out, by reason."""
    warnings: dict[str, float]
    repeated_rounds: float | None
    """Share of later rounds that repeat an earlier reply exactly; None without rounds."""
    agreement: dict[str, Any] | None
    """See `knowledge.votes.agreement`; None for other kinds."""
    calls: Calls | None
    """None where the replies are not in the store any more."""
    truth: TruthReport | None


def knowledge_report(
    store: Store, artifact: Artifact, truth: Artifact | Path | None = None
) -> KnowledgeReport:
    """Everything known about an artifact of a knowledge kind.

    Args:
        store: where its inputs are.
        artifact: made from replies of an LLM (`cooccurrence`, `descriptions`, `anatomy`).
        truth: ground truth for co-occurrence: `videos` of the same class list, of which all splits
            count, or a CSV file, see `knowledge.ground_truth.truth_of_csv`.

    Raises:
        ValueError: not made from replies, its class list is gone, or a truth that does not fit.
    """
    manifest = artifact.manifest
    made_from = manifest.inputs
    if not {"classes", "calls"} <= made_from.keys():
        raise ValueError(
            f"{artifact.ref} was not made from replies of an LLM; "
            "report on cooccurrence/NAME, descriptions/NAME or anatomy/NAME"
        )
    if truth is not None and manifest.kind != "cooccurrence":
        raise ValueError(f"truth has no effect on {artifact.ref}; leave it out")
    classes = store.get(made_from["classes"].ref)
    actions = read_classes(classes)
    found = None
    if isinstance(truth, Artifact):
        found = truth_of_videos(truth, classes, actions)
    elif truth is not None:
        found = truth_of_csv(truth, actions)
    report = manifest.report
    return KnowledgeReport(
        ref=str(artifact.ref),
        kind=manifest.kind,
        classes=len(actions),
        coverage=report["coverage"],
        unanswered_classes=report.get("unanswered_classes", []),
        rows=manifest.num_rows,
        drops=report["drops"],
        names_left_out=report.get("names_left_out", {}),
        warnings=report.get("warnings", {}),
        repeated_rounds=report.get("repeated_rounds"),
        agreement=report.get("agreement"),
        calls=_calls(store, made_from["calls"].ref),
        truth=None if found is None else compare(artifact, actions, found),
    )


def _calls(store: Store, ref: str) -> Calls | None:
    try:
        calls = store.get(ref)
    except ValueError:
        return None
    known = {"usd": None} | calls.manifest.config | calls.manifest.report | {"ref": str(calls.ref)}
    return Calls(**{name: known[name] for name in Calls.model_fields})
