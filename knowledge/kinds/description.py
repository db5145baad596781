"""Descriptions: which visual features distinguish a class in a video (STA's text prompts)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from knowledge.datasets.class_lists import normalised
from knowledge.extraction import check_calls, parse
from knowledge.llm.messages import ChatRequest, Message
from knowledge.question import ActionClass, Question, read_classes
from knowledge.tokens import MAX_TOKENS, clip_tokens

KIND = "description"
PROMPT_ID = "sta"
PROMPT = "Q: What are useful visual features for distinguishing {label} in a video?  A:"
"""The paper's prompt, two spaces before `A:` included."""
INSTRUCTION = (
    'Answer with one JSON object {"description": "..."}: one or two plain sentences of at most 50 '
    "words in all, about what can be seen, naming the action itself."
)

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
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

    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """One request per class, in id order."""
        return [
            ChatRequest(
                question=KIND,
                class_id=each.class_id,
                class_name=each.name,
                messages=(
                    Message(role="system", content=INSTRUCTION),
                    Message(role="user", content=PROMPT.format(label=each.prompt_name)),
                ),
                reply_schema=DescriptionReply.model_json_schema(),
                sampling=self.sampling,
            )
            for each in classes
        ]


def build(store: Store, classes: Artifact, calls: Artifact, config: DescriptionConfig) -> Outcome:
    """Publish `descriptions`: whole sentences of each reply, while they fit CLIP's 77 tokens.

    The report counts the classes without a usable text by reason, and lists the classes whose name
    does not occur in their text (a warning: the text must then distinguish the class without it).

    Raises:
        ValueError: the replies belong to another question or class list, or none is usable.
    """
    check_calls(calls, classes, config)
    provenance = Provenance(
        kind="descriptions",
        name=classes.ref.name,
        config=config.model_dump(mode="json"),
        inputs=dict(inputs_of(classes=classes, calls=calls)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    actions = {each.class_id: each for each in read_classes(classes)}
    parsed = parse(calls, config, DescriptionReply)
    drops = Counter(parsed.drops)
    rows: list[dict[str, Any]] = []
    shortened = 0
    for item in parsed.replies:
        whole = " ".join(item.reply.description.split())
        text = fitting(whole)
        if not text:
            drops["first_sentence_too_long" if whole else "empty"] += 1
            continue
        shortened += text != whole
        row = {"class_id": item.class_id, "prompt_id": PROMPT_ID, "text": text}
        rows.append(row | {"n_tokens": clip_tokens(text), "model": calls.manifest.config["model"]})
    if not rows:
        raise ValueError(f"{calls.ref}: no class has a usable description, drops: {dict(drops)}")
    unnamed = [
        row for row in rows if not mentions(row["text"], actions[row["class_id"]].prompt_name)
    ]
    report = {
        "rows": len(rows),
        "coverage": len(rows) / len(actions),
        "drops": dict(sorted(drops.items())),
        "shortened": shortened,
        "warnings": {"name_absent": len(unnamed)},
        "name_absent": [actions[row["class_id"]].name for row in unnamed],
    }
    table = pa.Table.from_pylist(rows, schema=schema_of("descriptions").arrow())
    return Outcome(store.publish(provenance, table, report), made=True)


def fitting(text: str) -> str:
    """The first whole sentences of a text that together fit CLIP; empty if not even one does."""
    kept = ""
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        longer = text[:end].rstrip()
        if clip_tokens(longer) > MAX_TOKENS:
            break
        kept, start = longer, end
    return kept if start else ""


def mentions(text: str, prompt_name: str) -> bool:
    """Whether a text holds every word of a class name outside brackets, inflected or not.

    Inflection is judged by the first letters only, so this serves a warning, not a rule.
    """
    heads = {word[:_STEM] for word in normalised(text).split()}
    words = normalised(_BRACKETED.sub(" ", prompt_name)).split()
    return all(word[:_STEM] in heads for word in words)
