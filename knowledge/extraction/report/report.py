"""How good extracted knowledge is: coverage, agreement, cost, and the truth where it is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.artifact import Artifact, CorruptArtifactError
from artifacts.frozen import Frozen
from artifacts.store import Store
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.report.comparison import TruthReport, compare
from knowledge.extraction.report.ground_truth import truth_of_csv, truth_of_videos


class Calls(Frozen):
    """What the replies cost, over all runs; the rate is that of the last one.

    None is unknown: replies asked for by an earlier version may not tell.
    """

    ref: str
    endpoint: str | None
    model: str | None
    requests: int | None
    """Questions of all rounds."""
    not_needed: int | None
    """Those that early stopping spared."""
    asked_again: int | None
    attempts: int | None
    possibly_billed: int | None
    """Attempts without a reply that the endpoint may have charged for."""
    prompt_tokens: int | None
    completion_tokens: int | None
    usd: float | None
    """What all attempts were charged, with the most that those can have cost of which it is not
    known; None where a price was not known."""
    duration_s: float | None
    calls_per_second: float | None


class KnowledgeReport(Frozen):
    """What there is to know about the knowledge in an artifact."""

    ref: str
    kind: str
    classes: int
    coverage: float | None
    """Share of the classes that were answered usably; None, here and below, where an earlier
    version made the artifact and did not tell."""
    unanswered_classes: list[str] | None
    rows: int
    drops: dict[str, int] | None
    """Replies left out, by reason."""
    names_left_out: dict[str, int] | None
    """Names in replies left out, by reason."""
    warnings: dict[str, float] | None
    repeated_rounds: float | None
    """Share of later rounds that repeat an earlier reply exactly; None without rounds."""
    agreement: dict[str, Any] | None
    """See `knowledge.extraction.cooccurrence.votes.agreement`; None for other kinds."""
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
            count, or a CSV file, see `knowledge.extraction.report.ground_truth.truth_of_csv`.

    Raises:
        CorruptArtifactError: the replies' manifest is damaged.
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
    actions = read_action_classes(classes)
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
        coverage=report.get("coverage"),
        unanswered_classes=report.get("unanswered_classes"),
        rows=manifest.num_rows,
        drops=report.get("drops"),
        names_left_out=report.get("names_left_out"),
        warnings=report.get("warnings"),
        repeated_rounds=report.get("repeated_rounds"),
        agreement=report.get("agreement"),
        calls=_calls(store, made_from["calls"].ref),
        truth=None if found is None else compare(artifact, actions, found),
    )


def _calls(store: Store, ref: str) -> Calls | None:
    try:
        calls = store.get(ref)
    except CorruptArtifactError:
        raise
    except ValueError:
        return None
    known = calls.manifest.config | calls.manifest.report | {"ref": str(calls.ref)}
    return Calls(**{name: known.get(name) for name in Calls.model_fields})
