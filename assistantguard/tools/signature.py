"""The arguments of a Python function: what the model is told of them, and how they are validated."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic
import pydantic_core
import typing_extensions
from pydantic.fields import FieldInfo

from assistantguard.errors import ConfigurationError
from assistantguard.tools.strict import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Arguments", "Documentation", "arguments_of", "documentation_of"]

# Made at run time, from a signature: no checker can follow.
_typed_dict: Any = typing_extensions.TypedDict
_not_required: Any = typing_extensions.NotRequired

_UNUSABLE = (pydantic.PydanticUserError, pydantic_core.SchemaError, NameError, TypeError)
"""What pydantic raises for an annotation that it cannot make a schema of."""


@dataclass(frozen=True, slots=True)
class Documentation:
    """What a docstring says."""

    text: str = ""
    """The summary and the description."""
    parameters: Mapping[str, str] | None = None
    """What it says of each parameter."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A function's arguments."""

    schema: dict[str, Any]
    """Their JSON schema."""
    _adapter: pydantic.TypeAdapter[dict[str, Any]]

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments that came as JSON, and turn them into what the function's annotations say.

        Arguments with a default that were not given are left out, so the function's own defaults apply.

        Raises:
            pydantic.ValidationError: An argument is missing, unknown or of the wrong kind.
            ValueError: A text is not valid Unicode.
        """
        return self._adapter.validate_json(pydantic_core.to_json(arguments))


def documentation_of(function: Callable[..., Any]) -> Documentation:
    """Read a function's docstring, in Google, NumPy, Sphinx or Epydoc style."""
    import docstring_parser

    documented = function.func if isinstance(function, functools.partial) else function
    if not inspect.isroutine(documented):
        own = inspect.getdoc(type(documented).__call__)
        text = own if own != inspect.getdoc(object.__call__) else None
        text = text or inspect.getdoc(type(documented))
    else:
        text = inspect.getdoc(documented)
    if not text:
        return Documentation()
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return Documentation(text)
    parts = (parsed.short_description, parsed.long_description)
    return Documentation(
        "\n\n".join(part for part in parts if part),
        {each.arg_name.lstrip("*"): each.description for each in parsed.params if each.description},
    )


def arguments_of(function: Callable[..., Any], name: str, documented: Mapping[str, str]) -> Arguments:
    """Build the schema and the validator of a function's arguments.

    Args:
        function: The function. Arguments that a ``functools.partial`` has bound by name are no longer the
            model's to give.
        name: The tool's name, for messages.
        documented: Descriptions of parameters. ``Annotated[…, Field(description=…)]`` goes before them.

    Raises:
        ConfigurationError: A parameter cannot be filled from JSON; the message names it and the mend.
    """
    hints = _hints(function, name)
    bound = function.keywords if isinstance(function, functools.partial) else {}
    fields: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for parameter in _signature(function, name).parameters.values():
        if parameter.name in bound:
            continue
        hint = _hint_of(parameter, hints, name)
        if parameter.default is not parameter.empty:
            defaults[parameter.name] = parameter.default
            if parameter.default is None:
                hint = typing.Optional[hint]  # noqa: UP045  the hint is a value, and may be text on 3.10
            hint = _not_required[hint]
        fields[parameter.name] = hint
    adapter, schema = _adapter(fields, name)
    properties = schema["properties"]
    for parameter_name, property_schema in properties.items():
        if parameter_name in documented:
            property_schema.setdefault("description", documented[parameter_name])
        if parameter_name in defaults:
            _show_default(property_schema, defaults[parameter_name])
    schema.setdefault("required", [])
    return Arguments(tidy(schema), adapter)


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"the tool {name!r} has no signature that Python can read: wrap it in a function with annotations"
        ) from None


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if not inspect.isroutine(target):
        target = type(target).__call__
    inner: Any = inspect.unwrap(target)
    # Without what it returns: that is none of the model's business, and need not be resolvable.
    annotations = {key: value for key, value in getattr(target, "__annotations__", {}).items() if key != "return"}
    annotated: Any = types.SimpleNamespace(__annotations__=annotations)
    try:
        return typing_extensions.get_type_hints(annotated, getattr(inner, "__globals__", {}), include_extras=True)
    except NameError as error:
        raise ConfigurationError(
            f"the tool {name!r} has an annotation that cannot be resolved ({error}):"
            " define or import that name at the top of the module, outside of `if TYPE_CHECKING`"
        ) from None


def _hint_of(parameter: inspect.Parameter, hints: Mapping[str, Any], name: str) -> Any:
    where = f"the parameter {parameter.name!r} of the tool {name!r}"
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise ConfigurationError(f"{where} takes any number of arguments: name each one, as the model must")
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ConfigurationError(f"{where} is positional-only, and the model gives arguments by name: remove the '/'")
    if parameter.name not in hints:
        unbound = " (or pass the bound method)" if parameter.name in {"self", "cls"} else ""
        raise ConfigurationError(
            f"{where} has no annotation, so the model cannot know what to give:"
            f" write one, for example {parameter.name}: str{unbound}"
        )
    if isinstance(parameter.default, FieldInfo):
        raise ConfigurationError(
            f"{where} has a Field(…) as its default: write {parameter.name}: Annotated[…, Field(…)] instead,"
            " and the default itself after '='"
        )
    return hints[parameter.name]


def _adapter(fields: dict[str, Any], name: str) -> tuple[pydantic.TypeAdapter[dict[str, Any]], dict[str, Any]]:
    def build(fields: dict[str, Any]) -> tuple[pydantic.TypeAdapter[dict[str, Any]], dict[str, Any]]:
        shape = _typed_dict(name, fields)
        shape.__pydantic_config__ = pydantic.ConfigDict(extra="forbid", coerce_numbers_to_str=True)
        adapter: pydantic.TypeAdapter[dict[str, Any]] = pydantic.TypeAdapter(shape)
        return adapter, adapter.json_schema()

    try:
        return build(fields)
    except _UNUSABLE as whole:
        for parameter_name, hint in fields.items():
            try:
                build({parameter_name: hint})
            except _UNUSABLE as error:
                raise ConfigurationError(
                    f"the parameter {parameter_name!r} of the tool {name!r} is annotated {_shown(hint)}, which"
                    f" cannot come as JSON ({_first_sentence(error)}): use plain types, pydantic models or"
                    f" dataclasses, or bind the value with functools.partial(…, {parameter_name}=…)"
                ) from None
        raise ConfigurationError(
            f"the parameters of the tool {name!r} do not go together ({_first_sentence(whole)}):"
            " change their annotations"
        ) from None


def _first_sentence(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].rstrip(".")


def _shown(hint: Any) -> str:
    (inner,) = typing.get_args(hint) if typing.get_origin(hint) is _not_required else (hint,)
    return inner.__name__ if isinstance(inner, type) else str(inner)


def _show_default(schema: dict[str, Any], default: Any) -> None:
    try:
        schema["default"] = pydantic_core.from_json(pydantic_core.to_json(default, inf_nan_mode="null"))
    except (pydantic_core.PydanticSerializationError, ValueError):
        schema.pop("default", None)  # the function fills it in; the model need not see it
