"""Commands whose options are fields of the model that their flow is given.

A table says which option is which field: `{panel: {option: path}}`, as in
`{"CLIP": {"--clip": "clip.arch"}}`. It is read, and the model imported, when its command is asked
for; `actionlore --help` imports no model.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from flows.commands.app import app, guarded, lazily
from flows.commands.fields import (
    Field,
    Leaf,
    Options,
    as_field,
    identifier,
    imported,
    known_names,
    parameter,
)

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

Table = Mapping[str, Options]
"""Options by panel."""
Model = TypeVar("Model", bound="BaseModel")


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
            return self._missing([".".join(map(str, each["loc"])) for each in error.errors()])
        problem = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error":
            from artifacts.frozen import nearest

            near = nearest(str(first["input"]), re.findall(r"'([^']*)'", problem))
            problem += f"; {near}" if near.startswith("nearest") else ""
        if not loc or isinstance(first["input"], Mapping):
            return problem
        if option is None:
            return f"{'.'.join(loc)}={first['input']!r}: {problem}"
        if first["type"] == "value_error" and str(first["input"]) in problem:
            return f"{option}: {problem}"
        inner = ".".join(loc[self._form.fields[option].path.count(".") + 1 :])
        value = f"{inner}={first['input']!r}" if inner else f"{first['input']!r}"
        return f"{option} {value}: {problem}"

    def _missing(self, paths: list[str]) -> str:
        """What has to be given too."""
        for path in paths:
            parent = path.rpartition(".")[0]
            beside = [each for each in self.values if parent and self._is_below(each, parent)]
            if beside:
                names = [
                    self._option_at(each.split("."))
                    for each in paths
                    if each.startswith(f"{parent}.")
                ]
                missing = " and ".join(filter(None, names))
                return f"{beside[0]} has no effect without {missing}: they belong together"
        below = [
            option
            for path in paths
            for option, field in self._form.fields.items()
            if field.path == path or (field.path.startswith(f"{path}.") and not field.needs)
        ]
        return f"give {' and '.join(below)}"

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
            names.split()[0]: as_field(each)
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
                source = ctx.get_parameter_source(identifier(name))
                if source is not None and not source.name.startswith("DEFAULT"):
                    field, value = self.fields[option], values[identifier(name)]
                    if option in found:
                        raise ValueError(f"{name} is {option}, which is given too; leave one out")
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
                field = as_field(each)
                leaf = Leaf(imported(self._model), field.path)
                text = leaf.help if field.needs else leaf.help + leaf.parents_help(told)
                text += known_names(field)
                for number, name in enumerate(names.split()):
                    yield (
                        identifier(name),
                        parameter(name, field, leaf, text, panel, hidden=number > 0),
                    )


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
