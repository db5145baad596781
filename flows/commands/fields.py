"""Options that are fields of a model: name, type, default and help come from the field.

`parameter` is the option of a field, as typer takes it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Field:
    """A field that an option sets in a way of its own."""

    path: str
    """Names from the command's model to the field, with dots between them; or `MODULE:MODEL.FIELD`
    of another model, whose value the command takes by the option's name."""
    read: Callable[[str, Any], Any] | None = None
    """From (option, what was given) to the field's value."""
    form: str | None = None
    """How its value is written, for help."""
    repeats: bool | None = None
    """Whether it may be given several times; when None, where the field holds several values and
    nothing reads them out of one."""
    known: str | None = None
    """`MODULE:FUNCTION` that gives the names it may have, for help."""
    needs: str | None = None
    """Option without which it has no effect."""
    required: bool = True
    """Whether it must be given where the field has no default."""


Options = dict[str, str | Field]
"""Option -> its field. Further names of an option, which still work and are not shown, follow the
first one; an argument's name is in capitals."""


def under(prefix: str, table: Options) -> Options:
    """The options of a model that is a field of another one."""
    fields = {name: as_field(each) for name, each in table.items()}
    return {name: replace(each, path=f"{prefix}.{each.path}") for name, each in fields.items()}


class Leaf:
    """The field at the end of a path."""

    info: FieldInfo

    def __init__(self, model: type[BaseModel], path: str) -> None:
        if ":" in path:
            place, _, path = path.rpartition(".")
            model = imported(place)
        *outer, last = path.split(".")
        self._parents: list[tuple[str, FieldInfo]] = []
        holder: Any = None
        for name in outer:
            info = model.model_fields[name]
            self._parents.append((name, info))
            holder = getattr(holder, name, None) if holder is not None else info.default
            model = _plain(info.annotation)
        self.info = model.model_fields[last]
        self.type = _plain(self.info.annotation)
        self.default = getattr(holder, last, None) if holder else self.info.default
        if self.info.is_required() or self.info.default_factory is not None:
            self.default = None
        infos = [*(info for _, info in self._parents), self.info]
        self.is_required = all(each.is_required() for each in infos)

    @property
    def holds_several(self) -> bool:
        """Whether its value is a collection."""
        return get_origin(self.type) in (tuple, list, dict)

    @property
    def is_model(self) -> bool:
        """Whether its value has fields; there or not is then all that an option says of it."""
        return isinstance(self.type, type) and hasattr(self.type, "model_fields")

    @property
    def help(self) -> str:
        """Its description, in one line."""
        return _line(self.info)

    def parents_help(self, told: set[str]) -> str:
        """What it means to leave out the model it is part of; said once."""
        found = ""
        for name, info in self._parents:
            if info.default is None and name not in told:
                told.add(name)
                found += f" {_line(info)}"
        return found


def parameter(
    name: str, field: Field, leaf: Leaf, text: str, panel: str, *, hidden: bool
) -> inspect.Parameter:
    """What typer makes an option, or an argument, of.

    Args:
        name: of the option.
        field: its field.
        leaf: the same, found in the model.
        text: its help.
        panel: where that stands.
        hidden: whether it stands there at all.
    """
    kind: Any
    kind, form = _kind(field, leaf)
    default = None if field.read or (kind is str and leaf.holds_several) else leaf.default
    if kind is bool:
        default = leaf.default is True
    elif not isinstance(default, str | int | float):
        default = None
    elif isinstance(default, float) and default.is_integer():
        default = int(default)  # for help: 300, not 300.0
    several = leaf.holds_several and not field.read
    if several if field.repeats is None else field.repeats:
        kind, form, text = list[kind], form or "<str>", f"{text} Repeatable."
    required = leaf.is_required and field.required and not hidden
    if name.startswith("-"):
        kind = kind if required or kind is bool else kind | None
        shown: dict[str, Any] = {"help": text, "rich_help_panel": panel, "hidden": hidden}
        told: Any = typer.Option(name, metavar=form, **shown)
    else:
        told = typer.Argument(metavar=name, help=text)
    return inspect.Parameter(
        identifier(name),
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else default,
        annotation=Annotated[kind, told],
    )


def _kind(field: Field, leaf: Leaf) -> tuple[Any, str | None]:
    """What typer reads a value as, and how help says it is written; the model checks it."""
    if get_origin(leaf.type) is Literal:
        allowed = get_args(leaf.type)
        return type(allowed[0]), field.form or "|".join(map(str, allowed))
    if leaf.is_model and field.form is None:
        return bool, None
    plain = not field.read and leaf.type in (int, float, bool, Path)
    return leaf.type if plain else str, field.form


def as_field(each: str | Field) -> Field:
    """The field that a table says."""
    return Field(each) if isinstance(each, str) else each


def identifier(option: str) -> str:
    """The parameter that holds an option's value."""
    return option.lstrip("-").rstrip(".").replace("-", "_").lower()


def imported(place: str) -> Any:
    """What stands at `MODULE:NAME`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def known_names(field: Field) -> str:
    """The names that its value may have, for help."""
    return f" Known: {', '.join(imported(field.known)())}." if field.known else ""


def _line(info: FieldInfo) -> str:
    return " ".join((info.description or "").split())


def _plain(annotation: Any) -> Any:
    """A type without what only says None or how it is checked."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [each for each in get_args(annotation) if each is not NoneType]
        return _plain(members[0])
    return annotation
