"""Descriptions: which visual features distinguish a class in a video (STA's text prompts)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from knowledge.clip.tokens import MAX_TOKENS, clip_tokens, fitting
from knowledge.datasets.class_names import normalised
from knowledge.extraction.parse import ParsedReply, check_calls, check_coverage, parse
from knowledge.extraction.question import ActionClass, Question, read_action_classes
from knowledge.llm.messages import ChatRequest, Message

KIND = "description"
PROMPT_ID = "sta"
PROMPT = "Q: What are useful visual features for distinguishing {label} in a video?  A:"
"""The paper's prompt, two spaces before `A:` included."""
LABEL = "{label}"
INSTRUCTION = (
    'Answer with one JSON object {"description": "..."}: one or two plain sentences of at most 50 '
    "words in all, about what can be seen, naming the action itself."
)

_PROMPT_ID = re.compile(r"[A-Za-z0-9_-]+")
_BRACKETED = re.compile(r"\(.*?\)")
_STEM = 3


class DescriptionReply(BaseModel):
    """What the LLM is asked to answer."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    description: str


class DescriptionConfig(Question):
    """What is asked; nothing is left to choose once the replies are there."""

    kind: ClassVar[str] = KIND
    reply_type: ClassVar[type[BaseModel]] = DescriptionReply

    prompts: dict[str, str] = Field({PROMPT_ID: PROMPT}, min_length=1)
    """Prompts by id, each asked about every class, with `{label}` where its name goes. The id is
    the group of the request."""

    @field_validator("prompts")
    @classmethod
    def _askable(cls, prompts: dict[str, str]) -> dict[str, str]:
        for prompt_id, template in prompts.items():
            if not _PROMPT_ID.fullmatch(prompt_id):
                raise ValueError(f"prompt id {prompt_id!r}: use letters, digits, _ and -")
            if template.count(LABEL) != 1:
                raise ValueError(f"prompt {prompt_id}={template!r} must hold {LABEL} exactly once")
        if len({*prompts.values()}) < len(prompts):
            raise ValueError(f"two of the prompts {', '.join(prompts)} are equal; leave one out")
        return prompts

    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """One request per class and prompt, in id order."""
        schema = DescriptionReply.model_json_schema()
        return [
            ChatRequest(
                question=KIND,
                class_id=each.class_id,
                class_name=each.name,
                group=prompt_id,
                messages=(
                    Message(role="system", content=INSTRUCTION),
                    Message(role="user", content=template.replace(LABEL, each.prompt_name)),
                ),
                reply_schema=schema,
                sampling=self.sampling,
            )
            for each in classes
            for prompt_id, template in sorted(self.prompts.items())
        ]

    def problem(self, reply: DescriptionReply) -> str | None:
        """No text, or a first sentence that does not fit CLIP."""
        text = _tidy(reply.description)
        if not text:
            return "the description is empty"
        if not fitting(text):
            return (
                f"the first sentence is longer than CLIP's {MAX_TOKENS} tokens; write one or two "
                "plain sentences of at most 50 words in all"
            )
        return None


CONFIG = DescriptionConfig


def build(
    store: Store,
    classes: Artifact,
    calls: Artifact,
    config: DescriptionConfig,
    *,
    min_coverage: float = 0.0,
    videos: Artifact | None = None,
) -> Outcome:
    """Publish `descriptions`: whole sentences of each reply, while they fit CLIP's 77 tokens.

    The report counts the requests without a usable text by reason, and lists the classes whose name
    does not occur in a text (a warning: the text must then distinguish the class without it). A
    class is covered if it has a text for every prompt.

    Args:
        store: where to look and publish.
        classes: the class list.
        calls: the replies to `config` about it.
        config: what was asked.
        min_coverage: share of the classes that must be covered.
        videos: not used.

    Raises:
        ValueError: the replies belong to another question or class list, or too few are usable.
    """
    check_calls(calls, classes, config)
    provenance = Provenance(
        kind="descriptions",
        name=classes.ref.name,
        config=config.model_dump(mode="json"),
        inputs=dict(inputs_of(classes=classes, calls=calls)),
    )
    actions = {each.class_id: each for each in read_action_classes(classes)}
    if found := store.find(provenance):
        check_coverage(calls, found.manifest.fact("answered"), len(actions), min_coverage)
        return Outcome(found, made=False)
    parsed = parse(calls, config, DescriptionReply)
    if not parsed.replies:
        raise ValueError(
            f"{calls.ref}: no class has a usable description, drops: {dict(parsed.drops)}"
        )
    per_class = Counter(item.class_id for item in parsed.replies)
    answered = [
        each for each in actions.values() if per_class[each.class_id] == len(config.prompts)
    ]
    check_coverage(calls, len(answered), len(actions), min_coverage)
    rows = [_row(item, calls.manifest.config["model"]) for item in parsed.replies]
    unnamed = _classes_not_named(rows, actions)
    report = {
        "rows": len(rows),
        "coverage": len(answered) / len(actions),
        "unanswered_classes": [each.name for each in actions.values() if each not in answered],
        "drops": dict(sorted(parsed.drops.items())),
        "asked_again": parsed.num_reasks,
        "shortened": sum(
            row["text"] != _tidy(item.reply.description)
            for row, item in zip(rows, parsed.replies, strict=True)
        ),
        "warnings": {"name_absent": len(unnamed)},
        "name_absent": unnamed,
    }
    facts = {"answered": len(answered)}
    table = pa.Table.from_pylist(rows, schema=schema_of("descriptions").arrow())
    return Outcome(store.publish(provenance, table, report, facts), made=True)


def _row(item: ParsedReply[DescriptionReply], model: str) -> dict[str, Any]:
    text = fitting(_tidy(item.reply.description))
    return {
        "class_id": item.class_id,
        "prompt_id": item.group,
        "text": text,
        "n_tokens": clip_tokens(text),
        "model": model,
    }


def _classes_not_named(
    rows: Sequence[dict[str, Any]], actions: Mapping[int, ActionClass]
) -> list[str]:
    """Names of the classes that a text about them does not hold, each once."""
    about = [(actions[row["class_id"]], row["text"]) for row in rows]
    absent = [action.name for action, text in about if not mentions(text, action.prompt_name)]
    return list(dict.fromkeys(absent))


def mentions(text: str, prompt_name: str) -> bool:
    """Whether a text holds every word of a class name outside brackets, inflected or not.

    Inflection is judged by the first letters only, so this serves a warning, not a rule.
    """
    heads = {word[:_STEM] for word in normalised(text).split()}
    words = normalised(_BRACKETED.sub(" ", prompt_name)).split()
    return all(word[:_STEM] in heads for word in words)


def _tidy(text: str) -> str:
    return " ".join(text.split())
