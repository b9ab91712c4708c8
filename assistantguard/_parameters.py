"""Checks of JSON values that refuse in the API's words.

A check is a function of (value, parameter name) that returns the value accepted or raises `ApiProblem`. An accepted
object has lost the fields that were null, where null means that they are not given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from assistantguard._refusals import (
    ApiProblem,
    invalid,
    listed,
    missing,
    out_of_range,
    unknown_parameter,
    unsupported,
    wrong_type,
)

__all__ = [
    "Check",
    "Fields",
    "array",
    "boolean",
    "enumeration",
    "integer",
    "mapping",
    "metadata",
    "number",
    "parsed",
    "query_integer",
    "string",
    "tagged",
    "text_matching",
]

Check: TypeAlias = Callable[[Any, str], Any]

_METADATA_PAIRS = 16
_METADATA_KEY = 64
_METADATA_VALUE = 512


class Fields:
    """The fields that an object may have.

    Args:
        checks: A check for each.
        required: Those that must be there, and may not be null.
        nullable: Those that may be null; all that are not required where None.
        keeps_null: Whether null is a value: one to be set, rather than one that is not given.
    """

    __slots__ = ("_checks", "_keeps_null", "_nullable", "_required")

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        required: Sequence[str] = (),
        nullable: Sequence[str] | None = None,
        keeps_null: bool = False,
    ) -> None:
        self._checks = dict(checks)
        self._required = tuple(required)
        self._nullable = frozenset(checks).difference(required) if nullable is None else frozenset(nullable)
        self._keeps_null = keeps_null

    def __call__(self, value: Any, param: str) -> dict[str, Any]:
        """Check an object; its fields are named below `param`, unless that is empty.

        Raises:
            ApiProblem: 400, naming the field.
        """
        if not isinstance(value, dict):
            raise wrong_type(param, "an object", value)
        prefix = f"{param}." if param else ""
        for name in self._required:
            if name not in value:
                raise missing(prefix + name)
        checks = self._checks
        accepted: dict[str, Any] = {}
        for name, field in value.items():
            check = checks.get(name)
            if check is None:
                raise unknown_parameter(prefix + name)
            if field is None and name in self._nullable:
                if self._keeps_null:
                    accepted[name] = None
                continue
            accepted[name] = check(field, prefix + name)
        return accepted


def parsed(body: Any, check: Callable[[Any, str], dict[str, Any]]) -> dict[str, Any]:
    """Check a request's body.

    Args:
        body: The JSON document; None for an empty body, which is an empty object.
        check: What it must be.

    Raises:
        ApiProblem: 400, naming the parameter.
    """
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise invalid(None, "We could not parse the JSON body of your request: it is not an object.")
    return check(body, "")


def query_integer(text: str | None, name: str, default: int, *, minimum: int, maximum: int) -> int:
    """Read a whole number in a range from the text of a query; `default` where there is none.

    Raises:
        ApiProblem: 400 where it is no whole number, or out of range.
    """
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise wrong_type(name, "an integer", text) from None
    _in_range(value, name, minimum, maximum, "integer")
    return value


def string(*, minimum: int = 0, maximum: int | None = None) -> Check:
    """A text of a length, in characters."""

    def check(value: Any, param: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(param, "a string", value)
        length = len(value)
        if length < minimum:
            if minimum == 1:
                raise invalid(
                    param,
                    f"Invalid '{param}': empty string. Expected a string with minimum length 1,"
                    " but got an empty string instead.",
                    "empty_string",
                )
            raise _outside(param, "string too short", f"a string with minimum length {minimum}", "string", length)
        if maximum is not None and length > maximum:
            raise _outside(param, "string too long", f"a string with maximum length {maximum}", "string", length)
        return value

    return check


def text_matching(pattern: str, *, maximum: int) -> Check:
    """A text of at least one character in which the whole matches a pattern."""
    of_length = string(minimum=1, maximum=maximum)
    matches = re.compile(pattern).fullmatch

    def check(value: Any, param: str) -> Any:
        of_length(value, param)
        if matches(value) is None:
            raise invalid(
                param,
                f"Invalid '{param}': string does not match pattern."
                f" Expected a string that matches the pattern '^{pattern}$'.",
                "invalid_value",
            )
        return value

    return check


def boolean(value: Any, param: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong_type(param, "a boolean", value)
    return value


def integer(*, minimum: int | None = None, maximum: int | None = None) -> Check:
    """A whole number in a range."""

    def check(value: Any, param: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(param, "an integer", value)
        _in_range(value, param, minimum, maximum, "integer")
        return value

    return check


def number(*, minimum: float | None = None, maximum: float | None = None) -> Check:
    """A number in a range."""

    def check(value: Any, param: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(param, "a decimal", value)
        _in_range(value, param, minimum, maximum, "integer" if isinstance(value, int) else "decimal")
        if value != value:  # noqa: PLR0124  Python reads NaN, which no range bounds
            raise wrong_type(param, "a decimal", value)
        return value

    return check


def enumeration(*supported: str) -> Check:
    """One of some texts."""

    def check(value: Any, param: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(param, f"one of {listed(supported, 'or')}", value)
        if value not in supported:
            raise unsupported(param, value, supported)
        return value

    return check


def array(element: Check | None = None, *, of: str = "objects", minimum: int = 0, maximum: int | None = None) -> Check:
    """A list; `of` names its elements in the plural."""

    def check(value: Any, param: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(param, f"an array of {of}", value)
        if len(value) < minimum:
            raise invalid(
                param,
                f"Invalid '{param}': empty array. Expected an array with minimum length {minimum},"
                " but got an empty array instead.",
                "empty_array",
            )
        if maximum is not None and len(value) > maximum:
            raise _outside(param, "array too long", f"an array with maximum length {maximum}", "array", len(value))
        if element is None:
            return value
        return [element(one, f"{param}[{position}]") for position, one in enumerate(value)]

    return check


def mapping(value: Any, param: str) -> dict[str, Any]:
    """Any object, as it is."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    return value


def tagged(alternatives: Mapping[str, Fields]) -> Check:
    """An object whose ``type`` says which fields it has."""
    kinds = tuple(alternatives)

    def check(value: Any, param: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong_type(param, "an object", value)
        kind = value.get("type")
        if kind is None:
            raise missing(f"{param}.type")
        if not isinstance(kind, str):
            raise wrong_type(f"{param}.type", f"one of {listed(kinds, 'or')}", kind)
        fields = alternatives.get(kind)
        if fields is None:
            raise unsupported(f"{param}.type", kind, kinds)
        return fields(value, param)

    return check


def metadata(value: Any, param: str) -> dict[str, str]:
    """At most 16 pairs of texts: keys of up to 64 characters, values of up to 512."""
    if not isinstance(value, dict):
        raise wrong_type(param, "an object", value)
    if len(value) > _METADATA_PAIRS:
        raise invalid(
            param,
            f"Invalid '{param}': too many properties. Expected an object with at most {_METADATA_PAIRS} properties,"
            f" but got an object with {len(value)} properties instead.",
            "object_above_max_properties",
        )
    for key, text in value.items():
        if len(key) > _METADATA_KEY:
            name = f"{param}.{key[:_METADATA_KEY]}"
            raise _outside(name, "string too long", f"a string with maximum length {_METADATA_KEY}", "string", len(key))
        if not isinstance(text, str) or len(text) > _METADATA_VALUE:
            _METADATA_TEXT(text, f"{param}.{key}")
    return value


_METADATA_TEXT = string(maximum=_METADATA_VALUE)


def _in_range(value: float, param: str, minimum: float | None, maximum: float | None, kind: str) -> None:
    if minimum is not None and value < minimum:
        raise out_of_range(param, value, kind, minimum=minimum, maximum=None)
    if maximum is not None and value > maximum:
        raise out_of_range(param, value, kind, minimum=None, maximum=maximum)


def _outside(param: str, fault: str, expected: str, kind: str, length: int) -> ApiProblem:
    bound = "below_min_length" if "short" in fault else "above_max_length"
    article = "an" if kind == "array" else "a"
    return invalid(
        param,
        f"Invalid '{param}': {fault}. Expected {expected}, but got {article} {kind} with length {length} instead.",
        f"{kind}_{bound}",
    )
