"""Commands whose options are fields of a model: name, type, default and help come from the field.

A table says which option is which field: `{panel: {option: path}}`, as in
`{"CLIP": {"--clip": "clip.arch"}}`. It is read, and the model imported, when its command is asked
for; `actionlore --help` imports no model.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer

from flows.commands.app import app, guarded, lazily

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.fields import FieldInfo

Model = TypeVar("Model", bound="BaseModel")


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
    """Whether it may be given several times; where the field holds several values when None."""
    known: str | None = None
    """`MODULE:FUNCTION` that gives the names it may have, for help."""
    needs: str | None = None
    """Option without which it has no effect."""
    required: bool = True
    """Whether it must be given where the field has no default."""


Table = Mapping[str, Mapping[str, "str | Field"]]
"""Panel -> option -> its field. Further names of an option, which still work and are not shown,
follow the first one; an argument's name is in capitals."""


def under(prefix: str, table: Mapping[str, str | Field]) -> dict[str, str | Field]:
    """The options of a model that is a field of another one."""
    fields = {name: _field(each) for name, each in table.items()}
    return {
        name: Field(**{**vars(each), "path": f"{prefix}.{each.path}"})
        for name, each in fields.items()
    }


def command(
    model: str, table: Table, *, panel: str, example: str, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a command, a function of `given: Given` and of options of its own.

    Args:
        model: `MODULE:MODEL` whose fields the options are.
        table: of its options.
        panel: of the list of commands.
        example: a call, for its help.
        name: of the command; the function's when None.
    """

    def add(work: Callable[..., None]) -> Callable[..., None]:
        form = _Form(model, table, work)
        told: dict[str, Any] = {"epilog": f"Example: {example}", "help": inspect.getdoc(work)}
        app.command(name or work.__name__, rich_help_panel=panel, **told)(lambda: None)

        def complete() -> Any:
            single = typer.Typer(add_completion=False)
            single.command(name or work.__name__, **told)(form.function())
            return typer.main.get_command(single)

        lazily[name or work.__name__] = complete
        return work

    return add


class Given:
    """What a user gave, by option."""

    def __init__(self, form: _Form, values: dict[str, Any]) -> None:
        self._form = form
        self.values = values

    def __contains__(self, option: str) -> bool:
        return option in self.values

    def __getitem__(self, option: str) -> Any:
        """The value; None if it was not given."""
        return self.values.get(option)

    def build(self, model: type[Model], **more: Any) -> Model:
        """The model with the values given.

        Args:
            model: that of the command, or another one with fields of the same names.
            more: further fields.

        Raises:
            ValueError: what is wrong, with the option's name.
        """
        from pydantic import ValidationError

        nested: dict[str, Any] = {}
        for option, value in self.values.items():
            field = self._form.fields[option]
            if field.needs and field.needs not in self:
                raise ValueError(f"{option} has no effect without {field.needs}")
            if ":" not in field.path:
                _put(nested, field.path.split("."), value)
        try:
            return model.model_validate(nested | more)
        except ValidationError as error:
            raise ValueError(self._problem(error)) from None

    def _problem(self, error: ValidationError) -> str:
        first = error.errors()[0]
        loc = [str(part) for part in first["loc"]]
        option = self._option_at(loc)
        if first["type"] == "missing":
            missing = [self._option_at(list(map(str, e["loc"]))) for e in error.errors()]
            names = " and ".join(each for each in missing if each)
            parent = ".".join(loc[:-1])
            beside = [each for each in self.values if self._is_below(each, parent)]
            if parent and beside:
                return f"{beside[0]} has no effect without {names}: they belong together"
            return f"give {names}"
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error":
            from artifacts.frozen import nearest

            near = nearest(str(first["input"]), re.findall(r"'([^']*)'", problem))
            problem += f"; {near}" if near.startswith("nearest") else ""
        if not loc or isinstance(first["input"], Mapping):
            return problem
        if option is None:
            return f"{'.'.join(loc)}={first['input']!r}: {problem}"
        inner = ".".join(loc[self._form.fields[option].path.count(".") + 1 :])
        value = f"{inner}={first['input']!r}" if inner else f"{first['input']!r}"
        return f"{option} {value}: {problem}"

    def _option_at(self, loc: list[str]) -> str | None:
        """The option of a field, or of the nearest one that it is part of."""
        for length in range(len(loc), 0, -1):
            path = ".".join(loc[:length])
            for option, field in self._form.fields.items():
                if field.path == path:
                    return option
        return None

    def _is_below(self, option: str, path: str) -> bool:
        return self._form.fields[option].path.startswith(f"{path}.")


class _Form:
    """A command's options."""

    def __init__(self, model: str, table: Table, work: Callable[..., None]) -> None:
        self._model = model
        self._table = table
        self._work = work

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Every option's field, by the option's first name."""
        return {
            names.split()[0]: _field(each)
            for options in self._table.values()
            for names, each in options.items()
        }

    def function(self) -> Callable[..., None]:
        """What typer makes the command of: its parameters are the options."""
        own = list(inspect.signature(self._work, eval_str=True).parameters.values())[1:]
        made = dict(self._parameters())
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

        def run(ctx: typer.Context, **values: Any) -> None:
            def act() -> None:
                theirs = {each.name: values.pop(each.name) for each in own}
                self._work(self.given(ctx, values), **theirs)

            guarded(act)

        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
        parameters = [context, *made.values(), *parameters]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    def given(self, ctx: typer.Context, values: Mapping[str, Any]) -> Given:
        """What was given, read as each field says."""
        found = {}
        for option, names in self._names():
            for name in names:
                source = ctx.get_parameter_source(_identifier(name))
                if source is not None and not source.name.startswith("DEFAULT"):
                    field, value = self.fields[option], values[_identifier(name)]
                    found[option] = field.read(name, value) if field.read else value
        return Given(self, found)

    def _names(self) -> Iterator[tuple[str, list[str]]]:
        for options in self._table.values():
            for names in options:
                yield names.split()[0], names.split()

    def _parameters(self) -> Iterator[tuple[str, inspect.Parameter]]:
        told: set[str] = set()
        for panel, options in self._table.items():
            for names, each in options.items():
                field = _field(each)
                leaf = _Leaf(_imported(self._model), field.path)
                text = leaf.help + leaf.parents_help(told) + _known(field)
                for number, name in enumerate(names.split()):
                    yield (
                        _identifier(name),
                        _parameter(name, field, leaf, text, panel, hidden=number > 0),
                    )


class _Leaf:
    """The field at the end of a path."""

    info: FieldInfo

    def __init__(self, model: type[BaseModel], path: str) -> None:
        if ":" in path:
            place, _, path = path.rpartition(".")
            model = _imported(place)
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


def _parameter(
    name: str, field: Field, leaf: _Leaf, text: str, panel: str, *, hidden: bool
) -> inspect.Parameter:
    kind: Any = leaf.type
    several = get_origin(kind) in (tuple, list, dict)
    form = field.form
    if get_origin(kind) is Literal:
        form, kind = form or "|".join(map(str, get_args(kind))), type(get_args(kind)[0])
    elif field.read or several or kind not in (str, int, float, bool, Path):
        kind = str
    if _is_switch(leaf) and form is None:
        kind = bool
    default: Any = leaf.default if kind in (str, int, float, bool) else None
    if several or field.read or (kind is bool and not isinstance(default, bool)):
        default = False if kind is bool else None
    if several if field.repeats is None else field.repeats:
        kind = list[kind]
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    shown: dict[str, Any] = {"help": text, "rich_help_panel": panel, "hidden": hidden}
    shown["metavar"] = form if kind is not bool else None
    required = leaf.is_required and field.required and not hidden
    if name.startswith("--"):
        kind = kind if required or kind is bool else kind | None
        annotation = Annotated[kind, typer.Option(name, **shown)]
    else:
        annotation = Annotated[kind, typer.Argument(metavar=name, help=text)]
    empty = inspect.Parameter.empty
    return inspect.Parameter(
        _identifier(name),
        inspect.Parameter.KEYWORD_ONLY,
        default=empty if required else default,
        annotation=annotation,
    )


def _is_switch(leaf: _Leaf) -> bool:
    """A model that is there or not, its other options saying more."""
    return isinstance(leaf.type, type) and hasattr(leaf.type, "model_fields")


def _field(each: str | Field) -> Field:
    return Field(each) if isinstance(each, str) else each


def _identifier(option: str) -> str:
    return option.lstrip("-").replace("-", "_").lower()


def _put(values: dict[str, Any], path: list[str], value: Any) -> None:
    *outer, last = path
    for name in outer:
        values = values.setdefault(name, {})
    if isinstance(value, dict):
        for name, each in value.items():
            _put(values, [*path[len(outer) :], name], each)
        values.setdefault(last, {})
    elif last in values:
        raise ValueError(f"{last} is given twice; leave one out")
    else:
        values[last] = value


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _known(field: Field) -> str:
    return f" Known: {', '.join(_imported(field.known)())}." if field.known else ""


def _line(info: FieldInfo) -> str:
    return " ".join((info.description or "").split())


def _plain(annotation: Any) -> Any:
    """A type without what only says None or how it is checked."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [each for each in get_args(annotation) if each is not NoneType]
        literals = [value for each in members for value in get_args(each)]
        if all(get_origin(each) is Literal for each in members):
            return Literal[tuple(literals)]
        return _plain(members[0])
    return annotation
