"""The bundled replies as a model: free, offline, always the same.

`knowledge/replies/README.md` says where they come from.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from artifacts.files import file_sha256
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.class_names import normalised
from knowledge.llm.messages import ChatReply, ChatRequest, Dialect

BUNDLES = ("kinetics400", "ucf101", "hmdb51", "ssv2", "charades", "ava", "stickworld")
"""Datasets with recorded texts, in the order they are searched."""

REPLIES = Path(__file__).parent.parent / "replies"
_PAIRS = "cooccurrence"


class RecordedReplies:
    """Answers with what was recorded, and with status no_reply where nothing was."""

    endpoint = "recorded"
    recorded = True

    def __init__(self, class_names: Iterable[str] = ()) -> None:
        """Choose the bundles to answer from.

        Args:
            class_names: the vocabulary asked about. If it is one of our class lists (compared by
                `normalised`), only that dataset's replies are used; otherwise a class's texts come
                from the first bundle that knows its name.
        """
        asked = frozenset(normalised(name) for name in class_names)
        own = [bundle for bundle in BUNDLES if asked == _names_by_group(bundle).get(None)]
        self._bundles = tuple(own) or BUNDLES
        self.model = model_name(self._bundles)
        """Names the content of the bundles, so that other replies are another artifact."""

    def complete(self, request: ChatRequest, dialect: Dialect) -> ChatReply:
        """The recorded reply to a request's kind, class, group and round.

        Co-occurrence is answered only if the candidates are the list that was recorded: a reply
        that left out a name nobody offered would read as "does not co-occur". Descriptions are
        those of the prompt `sta`.
        """
        for bundle in self._bundles:
            reply = (
                self._pairs(bundle, request)
                if request.question == _PAIRS
                else self._text(bundle, request)
            )
            if reply is not None:
                return ChatReply(text=json.dumps(reply, ensure_ascii=False), finish_reason="stop")
        return ChatReply(text=None, status="no_reply")

    @staticmethod
    def _pairs(bundle: str, request: ChatRequest) -> Any:
        asked = frozenset(normalised(name) for name in request.candidates)
        if asked != _names_by_group(bundle).get(request.group):
            return None
        name = normalised(request.class_name)
        return _recorded_pairs(bundle).get((name, request.group, request.round))

    @staticmethod
    def _text(bundle: str, request: ChatRequest) -> Any:
        form = _FORMS.get((request.question, request.group))
        texts = _recorded_texts(bundle).get(normalised(request.class_name))
        if form is None or texts is None or request.round != 1:
            return None
        return form(texts)


def _description(texts: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": texts["description"]}


def _anatomy(texts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "phases": [
            {
                "subject": phase["subject"],
                "motion": phase["motion"],
                "object": phase["object"] or None,
                "sentence": phase["text"],
            }
            for phase in texts["phases"]
        ]
    }


_FORMS: dict[tuple[str, str], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    ("description", "sta"): _description,
    ("anatomy", ""): _anatomy,
}
"""Recorded texts in the form that is asked for now, by question and group."""


@cache
def _names_by_group(bundle: str) -> dict[str | None, frozenset[str]]:
    """Normalised names of each group; under None those of the whole list."""
    classes = class_list(bundle)
    names = classes["name"].map(normalised)
    groups: dict[str | None, frozenset[str]] = {None: frozenset(names)}
    for group in classes["group"].unique():
        groups[str(group)] = frozenset(names[classes["group"] == group])
    return groups


def model_name(bundles: Iterable[str], directory: Path = REPLIES) -> str:
    """What the bundles of a directory are called as a model: other content, another name."""
    digests = "".join(_digest(bundle, directory) for bundle in bundles)
    return f"recorded replies {hashlib.sha256(digests.encode()).hexdigest()[:8]}"


@cache
def _digest(bundle: str, directory: Path) -> str:
    """SHA-256 (hex) of a bundle's files."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob(f"{bundle}_*.jsonl.gz")):
        digest.update(f"{path.name} {file_sha256(path)} ".encode())
    return digest.hexdigest()


@cache
def _recorded_pairs(bundle: str) -> dict[tuple[str, str, int], Any]:
    return {
        (normalised(row["class"]), row["group"], row["round"]): row["reply"]
        for row in _lines(f"{bundle}_cooccurrence.jsonl.gz")
    }


@cache
def _recorded_texts(bundle: str) -> dict[str, Any]:
    return {normalised(row["class"]): row for row in _lines(f"{bundle}_texts.jsonl.gz")}


def _lines(name: str) -> list[dict[str, Any]]:
    path = REPLIES / name
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]
