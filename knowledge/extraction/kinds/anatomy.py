"""Anatomy: the consecutive phases of an action, each with subject, motion, object and a sentence.

Source: LGA (Language-Guided Action Anatomy, ICCV 2025, arXiv 2507.16287): three phases with these
parts. The wording of the prompt, the limits on a sentence and re-asking are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from knowledge.clip.tokens import MAX_TOKENS, clip_tokens
from knowledge.datasets.class_names import normalised
from knowledge.extraction.parse import check_calls, check_coverage, parse
from knowledge.extraction.question import ActionClass, Question, read_action_classes
from knowledge.llm.messages import ChatRequest, Message

KIND = "anatomy"
PHASES = ("onset", "progression", "completion")
"""The paper's phases."""
MAX_WORDS = 18
"""Words of a sentence, as asked for; what decides is its number of tokens."""
PROMPT = (
    "Decompose the human action '{label}' into exactly {phases}. For each phase give subject, "
    "motion, object (or null) and one sentence of at most {max_words} words that states all three "
    "and is visually verifiable. Do not repeat the label."
)
INSTRUCTION = (
    'Answer with one JSON object {"phases": [{"subject": "...", "motion": "...", "object": "..." '
    'or null, "sentence": "..."}, ...]}: the phases in temporal order.'
)


class Phase(BaseModel):
    """One phase as the LLM is asked to give it; a `stage` is ignored, its place says the same."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    subject: str
    motion: str
    object: str | None
    sentence: str


class AnatomyReply(BaseModel):
    """What the LLM is asked to answer."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    phases: list[Phase]


class AnatomyConfig(Question):
    """What is asked, and which replies are asked for again."""

    kind: ClassVar[str] = KIND
    reply_type: ClassVar[type[BaseModel]] = AnatomyReply

    num_phases: int = Field(len(PHASES), ge=1)
    """Phases per class."""
    max_tokens: int = Field(MAX_TOKENS, ge=3, le=MAX_TOKENS)
    """CLIP tokens of a sentence, start and end included."""

    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """One request per class, in id order."""
        schema = AnatomyReply.model_json_schema()
        return [
            ChatRequest(
                question=KIND,
                class_id=each.class_id,
                class_name=each.name,
                messages=(
                    Message(role="system", content=INSTRUCTION),
                    Message(role="user", content=self._prompt(each.prompt_name)),
                ),
                reply_schema=schema,
                sampling=self.sampling,
            )
            for each in classes
        ]

    def problem(self, reply: AnatomyReply) -> str | None:
        """A wrong number of phases, or every empty part and too long sentence of them."""
        if len(reply.phases) != self.num_phases:
            return f"it has {len(reply.phases)} phases instead of {self.num_phases}"
        problems = []
        for number, phase in enumerate(reply.phases, start=1):
            for part in ("subject", "motion", "sentence"):
                if not getattr(phase, part).strip():
                    problems.append(f"phase {number} has no {part}")
            tokens = clip_tokens(_tidy(phase.sentence))
            if tokens > self.max_tokens:
                problems.append(
                    f"the sentence of phase {number} is too long ({tokens} tokens, at most "
                    f"{self.max_tokens}): write at most {MAX_WORDS} words"
                )
        return "; ".join(problems) or None

    def _prompt(self, label: str) -> str:
        phases = f"{self.num_phases} consecutive phases"
        if self.num_phases == len(PHASES):
            phases += f": {', '.join(PHASES)}"
        return PROMPT.format(label=label, phases=phases, max_words=MAX_WORDS)


CONFIG = AnatomyConfig


def build(
    store: Store,
    classes: Artifact,
    calls: Artifact,
    config: AnatomyConfig,
    *,
    min_coverage: float = 0.0,
    videos: Artifact | None = None,
) -> Outcome:
    """Publish `anatomy`: the phases of every class with a usable reply.

    The report counts the classes without one by reason, and lists, as warnings, the classes of
    which a sentence holds the class's name or two phases have the same sentence.

    Args:
        store: where to look and publish.
        classes: the class list.
        calls: the replies to `config` about it.
        config: what was asked.
        min_coverage: share of the classes that must have an anatomy.
        videos: not used.

    Raises:
        ValueError: the replies belong to another question or class list, or too few are usable.
    """
    check_calls(calls, classes, config)
    provenance = Provenance(
        kind="anatomy",
        name=classes.ref.name,
        config=config.model_dump(mode="json"),
        inputs=dict(inputs_of(classes=classes, calls=calls)),
    )
    actions = read_action_classes(classes)
    if found := store.find(provenance):
        check_coverage(calls, found.manifest.fact("answered"), len(actions), min_coverage)
        return Outcome(found, made=False)
    parsed = parse(calls, config, AnatomyReply)
    if not parsed.replies:
        raise ValueError(f"{calls.ref}: no class has a usable anatomy, drops: {dict(parsed.drops)}")
    anatomies = {each.class_id: _rows(each.reply.phases) for each in parsed.replies}
    check_coverage(calls, len(anatomies), len(actions), min_coverage)
    model = calls.manifest.config["model"]
    rows = [
        {"class_id": class_id, "model": model, **row}
        for class_id, phases in anatomies.items()
        for row in phases
    ]
    report = _report(actions, anatomies) | {
        "rows": len(rows),
        "drops": dict(sorted(parsed.drops.items())),
        "asked_again": parsed.num_reasks,
    }
    facts = {"answered": len(anatomies)}
    table = pa.Table.from_pylist(rows, schema=schema_of("anatomy").arrow())
    return Outcome(store.publish(provenance, table, report, facts), made=True)


def _report(
    actions: Sequence[ActionClass], anatomies: Mapping[int, Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    answered = [each for each in actions if each.class_id in anatomies]
    repeated = [each.name for each in answered if _names(anatomies[each.class_id], each)]
    duplicate = [each.name for each in answered if _has_duplicates(anatomies[each.class_id])]
    return {
        "coverage": len(answered) / len(actions),
        "unanswered_classes": [each.name for each in actions if each.class_id not in anatomies],
        "warnings": {"name_repeated": len(repeated), "duplicate_phases": len(duplicate)},
        "name_repeated": repeated,
        "duplicate_phases": duplicate,
    }


def _rows(phases: Sequence[Phase]) -> list[dict[str, Any]]:
    return [
        {
            "stage": stage,
            "subject": _tidy(phase.subject),
            "motion": _tidy(phase.motion),
            "object": _tidy(phase.object or "") or None,
            "sentence": _tidy(phase.sentence),
            "n_tokens": clip_tokens(_tidy(phase.sentence)),
        }
        for stage, phase in enumerate(phases)
    ]


def _names(phases: Sequence[dict[str, Any]], action: ActionClass) -> bool:
    """Whether a sentence holds the class's name, word by word."""
    name = f" {normalised(action.prompt_name)} "
    return any(name in f" {normalised(phase['sentence'])} " for phase in phases)


def _has_duplicates(phases: Sequence[dict[str, Any]]) -> bool:
    return len({normalised(phase["sentence"]) for phase in phases}) < len(phases)


def _tidy(text: str) -> str:
    return " ".join(text.split())
