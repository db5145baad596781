"""What `extract` is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from artifacts.frozen import Frozen
from flows.orchestration.specs.names import ClassesName
from knowledge.extraction.registry import check_kind, kind_module, kind_names
from knowledge.llm.options import DEADLINE_S, TIMEOUT_S, AskingOptions

if TYPE_CHECKING:
    from knowledge.extraction.question import Question

ENDPOINT_COVERAGE = 0.9
"""Share of the classes that an endpoint must answer usably, unless `min_coverage` says otherwise.
Recorded replies need none: what they cover depends on what was recorded."""


class LlmSpec(Frozen):
    """An OpenAI-compatible endpoint; its key, if it needs one, is read from OPENAI_API_KEY."""

    base_url: str
    """OpenAI-compatible endpoint, such as https://api.openai.com/v1; its key is read from
    OPENAI_API_KEY."""
    model: str
    """Model at the endpoint."""
    timeout_s: float = Field(TIMEOUT_S, gt=0)
    """Longest silence of the endpoint in s."""
    deadline_s: float = Field(DEADLINE_S, gt=0)
    """Longest time in s to the end of a reply, however it trickles in."""


class KnowledgeSpec(Frozen):
    """What to ask, whom, and how."""

    kinds: tuple[str, ...] = Field(default_factory=kind_names, min_length=1)
    """Kinds of knowledge to ask for; if omitted all."""
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Changes to the kinds' settings, such as `cooccurrence.rounds=3`."""
    llm: LlmSpec | None = None
    """If omitted, the recorded replies that come with the package answer."""
    asking: AskingOptions = AskingOptions()
    """Limits, retries, cap and prices at the endpoint."""
    ledger: Path | None = None
    """File in which every paid reply is kept; if omitted `ledger.sqlite3` in the store."""
    min_coverage: float | None = Field(None, ge=0, le=1)
    """Share of the classes that must be answered usably, or nothing is published of a kind; if
    omitted 0.9 of an endpoint, 0 of recorded replies."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        for kind in self.kinds:
            check_kind(kind)
        for kind in self.settings:
            self.config(kind)
        if unused := sorted({*self.settings} - {*self.kinds}):
            raise ValueError(
                f"settings of {unused[0]!r} have no effect, since only {', '.join(self.kinds)} "
                "is asked; leave them out"
            )
        if self.llm is None and self.asking != AskingOptions():
            raise ValueError(
                "limits, cap, prices and batch mode have no effect on recorded replies; leave them "
                "out or give --llm-base-url and --llm-model"
            )
        return self

    def config(self, kind: str) -> Question:
        """Settings of a kind.

        Raises:
            ValueError: unknown kind, unknown field or a value that does not fit.
        """
        config_type = kind_module(kind).CONFIG
        changes = self.settings.get(kind, {})
        try:
            return config_type.model_validate(_complete(config_type, changes))
        except ValidationError as error:
            raise ValueError(_first_error(error, config_type)) from None

    @property
    def least_coverage(self) -> float:
        """`min_coverage` with None replaced by what it means."""
        if self.min_coverage is not None:
            return self.min_coverage
        return 0.0 if self.llm is None else ENDPOINT_COVERAGE


class ExtractSpec(KnowledgeSpec):
    """What to ask about which classes, whom, and how."""

    classes: ClassesName
    """Name of a registered dataset or of a known class list."""


def _complete(config_type: type[Question], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes, where a change to part of a nested model keeps the model's other defaults."""
    values = dict(changes)
    for name, field in config_type.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and isinstance(changes.get(name), Mapping):
            values[name] = default.model_dump() | dict(changes[name])
    return values


def _first_error(error: ValidationError, config_type: type[Question]) -> str:
    first = error.errors()[0]
    where = ".".join((config_type.kind, *map(str, first["loc"])))
    if first["type"] == "extra_forbidden":
        return f"unknown setting {where}; known: {', '.join(config_type.model_fields)}"
    problem = first["msg"].removeprefix("Value error, ")
    return f"{where}={first['input']!r}: {problem}"
