"""Reading replies: first their form, then what a kind demands of them; never repaired.

A reply counts only if it is whole: one that ran into the token limit is `truncated`, since what it
left out would read as a no. JSON inside one code fence is accepted, and so is the only JSON object
in prose. A byte order mark and the thoughts a model puts before its answer are no part of it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from knowledge.datasets.class_names import normalised

Reply = TypeVar("Reply", bound=BaseModel)

_NOT_JSON = "the answer is not JSON: it has to be one JSON object and nothing else"
_WRONG = {
    "missing": "is missing",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "model_type": "must be an object",
}
"""What is wrong by pydantic's type of error. Its own words and those of `json` change between
versions, and what is told to an LLM decides the key of the next request."""
_FENCED = re.compile(r"```[^\s`]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)


class Unusable(Exception):  # noqa: N818
    """Why a reply does not count: a reason to count it by, and a detail for whoever wrote it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def read_reply(
    text: str | None, status: str, finish_reason: str | None, reply_type: type[Reply]
) -> Reply:
    """The reply as its type.

    Args:
        text: what the endpoint answered.
        status: ok, no_reply or refusal.
        finish_reason: as the endpoint reported it.
        reply_type: what was asked for.

    Raises:
        Unusable: no_reply, refusal, truncated, empty, not_json (also repeated keys, NaN and
            half a surrogate pair) or wrong_form.
    """
    if status != "ok":
        raise Unusable(status, "there is no answer")
    if finish_reason == "length":
        raise Unusable("truncated", "the answer was cut off")
    text = (text or "").strip().removeprefix("\ufeff").strip()
    if thoughts := _THOUGHTS.match(text):
        text = text[thoughts.end() :].strip()
    if not text:
        raise Unusable("empty", "the answer was empty")
    try:
        value = _value(text)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        raise Unusable("not_json", "the answer is not JSON: it holds half a character") from None
    except (ValueError, RecursionError) as error:
        raise Unusable("not_json", _NOT_JSON) from error
    try:
        return reply_type.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        what = _WRONG.get(first["type"], "has a wrong value")
        raise Unusable("wrong_form", f"{where} {what}") from error


def _value(text: str) -> Any:
    """The JSON value that a text is, holds in its only code fence or has as its only object.

    Raises:
        ValueError: none, or more than one object.
        RecursionError: too deep.
        Unusable: repeated keys or NaN.
    """
    if text.startswith("<think>"):
        raise ValueError("thoughts without an end, or twice")
    fenced = _FENCED.findall(text)
    for whole in (text, *(fenced if len(fenced) == 1 else ())):
        try:
            return _DECODER.decode(whole.strip())
        except json.JSONDecodeError:
            continue
    start = text.index("{")
    value, end = _DECODER.raw_decode(text, start)
    if "{" in text[end:] or text[:start].rstrip().endswith("[") or text[end:].lstrip()[:1] == "]":
        raise ValueError("more than one object, or part of a list")
    return value


class Vocabulary:
    """Finds the class a reply names: exact spelling first, then `normalised`, never by likeness."""

    def __init__(self, spellings: Mapping[int, Iterable[str]]) -> None:
        """Index the accepted spellings of each class id."""
        self._exact: dict[str, int] = {}
        folded: dict[str, set[int]] = {}
        for class_id, names in spellings.items():
            for name in names:
                self._exact.setdefault(name, class_id)
                folded.setdefault(normalised(name), set()).add(class_id)
        self._folded = {name: ids.pop() for name, ids in folded.items() if len(ids) == 1}

    def find(self, name: str) -> int | None:
        """Class id of a name; None for an invention or a name that fits several classes."""
        return self._exact.get(name, self._folded.get(normalised(name)))

    def match(self, names: Iterable[str]) -> tuple[list[int], Counter[str]]:
        """Class ids in the order named, each once, and what was left out: invented, duplicate."""
        found: dict[int, None] = {}
        drops: Counter[str] = Counter()
        for name in names:
            class_id = self.find(name)
            if class_id is None:
                drops["invented"] += 1
            elif class_id in found:
                drops["duplicate"] += 1
            else:
                found[class_id] = None
        return list(found), drops


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise Unusable("not_json", "the answer is not JSON: a key occurs twice")
    return value


def _refuse(constant: str) -> NoReturn:
    raise Unusable("not_json", f"the answer is not JSON: it holds {constant}")


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse)
