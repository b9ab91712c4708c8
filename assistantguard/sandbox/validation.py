"""Strict checks of request bodies, refused in OpenAI's words.

A check is a function of (value, parameter name) that raises `ApiError`. An endpoint's parameters are a table of
checks; a parameter outside the table is refused. Parameters are checked in the order of the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from assistantguard.sandbox.problems import (
    ApiError,
    below_minimum,
    invalid_type,
    invalid_value,
    missing,
    rejected,
    unknown_parameter,
)

__all__ = [
    "Check",
    "array",
    "boolean",
    "check_body",
    "check_fields",
    "enumeration",
    "integer",
    "metadata",
    "number",
    "obj",
    "query_integer",
    "string",
    "text_matching",
]

Check: TypeAlias = Callable[[Any, str], None]


def string(*, maximum: int | None = None, minimum: int = 0) -> Check:
    """Accept a string of a length, in characters."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            raise invalid_type(param, "a string", value)
        if len(value) < minimum:
            if minimum == 1:
                raise rejected(
                    f"Invalid '{param}': empty string. Expected a string with minimum length 1, "
                    "but got an empty string instead.",
                    param,
                    "empty_string",
                )
            raise rejected(
                f"Invalid '{param}': string too short. Expected a string with minimum length {minimum}, "
                f"but got a string with length {len(value)} instead.",
                param,
                "string_below_min_length",
            )
        if maximum is not None and len(value) > maximum:
            raise rejected(
                f"Invalid '{param}': string too long. Expected a string with maximum length {maximum}, "
                f"but got a string with length {len(value)} instead.",
                param,
                "string_above_max_length",
            )

    return check


def text_matching(pattern: str, *, maximum: int) -> Check:
    """Accept a non-empty string in which the whole matches a pattern."""
    length = string(minimum=1, maximum=maximum)
    compiled = re.compile(pattern)

    def check(value: Any, param: str) -> None:
        length(value, param)
        if compiled.fullmatch(value) is None:
            raise rejected(
                f"Invalid '{param}': string does not match pattern. "
                f"Expected a string that matches the pattern '^{pattern}$'.",
                param,
                "invalid_value",
            )

    return check


def boolean(value: Any, param: str) -> None:
    """Accept true and false."""
    if not isinstance(value, bool):
        raise invalid_type(param, "a boolean", value)


def integer(*, minimum: int | None = None, maximum: int | None = None) -> Check:
    """Accept an integer in a range."""

    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid_type(param, "an integer", value)
        _range(value, param, minimum, maximum, "integer")

    return check


def number(*, minimum: float | None = None, maximum: float | None = None) -> Check:
    """Accept a number in a range."""

    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid_type(param, "a decimal", value)
        _range(value, param, minimum, maximum, "decimal")

    return check


def _range(value: float, param: str, minimum: float | None, maximum: float | None, kind: str) -> None:
    if minimum is not None and value < minimum:
        raise below_minimum(param, minimum, value)
    if maximum is not None and value > maximum:
        raise rejected(
            f"Invalid '{param}': {kind} above maximum value. Expected a value <= {maximum}, but got {value} instead.",
            param,
            f"{kind}_above_max_value",
        )


def enumeration(*supported: str) -> Check:
    """Accept one of some strings."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            quoted = [f"'{name}'" for name in supported]
            listed = f"{', '.join(quoted[:-1])} or {quoted[-1]}"
            raise invalid_type(param, f"one of {listed}", value)
        if value not in supported:
            raise invalid_value(param, value, supported)

    return check


def array(element: Check | None = None, *, of: str = "objects", maximum: int | None = None) -> Check:
    """Accept an array; `of` names its elements in the plural."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, list):
            raise invalid_type(param, f"an array of {of}", value)
        if maximum is not None and len(value) > maximum:
            raise rejected(
                f"Invalid '{param}': array too long. Expected an array with maximum length {maximum}, "
                f"but got an array with length {len(value)} instead.",
                param,
                "array_above_max_length",
            )
        if element is not None:
            for position, one in enumerate(value):
                element(one, f"{param}[{position}]")

    return check


def obj(
    fields: Mapping[str, Check] | None = None, *, required: Sequence[str] = (), nullable: Sequence[str] = ()
) -> Check:
    """Accept an object with these fields; without a table, any object."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, dict):
            raise invalid_type(param, "an object", value)
        if fields is not None:
            check_fields(value, fields, required=required, nullable=nullable, prefix=f"{param}.")

    return check


def check_fields(
    value: Mapping[str, Any],
    fields: Mapping[str, Check],
    *,
    required: Sequence[str] = (),
    nullable: Sequence[str] = (),
    prefix: str = "",
) -> None:
    """Check an object's fields against a table, unknown names first."""
    for name in required:
        if name not in value:
            raise missing(f"{prefix}{name}")
    for name in value:
        if name not in fields:
            raise unknown_parameter(f"{prefix}{name}")
    for name, check in fields.items():
        if name not in value or (value[name] is None and name in nullable):
            continue
        check(value[name], f"{prefix}{name}")


def metadata(value: Any, param: str) -> None:
    """Accept at most 16 pairs of strings, keys up to 64 and values up to 512 characters."""
    if not isinstance(value, dict):
        raise invalid_type(param, "a metadata object", value)
    if len(value) > 16:
        raise rejected(
            f"Invalid '{param}': too many properties. Expected an object with at most 16 properties, "
            f"but got an object with {len(value)} properties instead.",
            param,
            "object_above_max_properties",
        )
    for key, text in value.items():
        string(maximum=64)(key, f"{param}.{key[:64]}")
        string(maximum=512)(text, f"{param}.{key}")


def check_body(
    body: Any, fields: Mapping[str, Check], *, required: Sequence[str] = (), not_nullable: Sequence[str] = ()
) -> dict[str, Any]:
    """Check a request body, and return it without the parameters that are null.

    Args:
        body: The JSON document.
        fields: Checks by parameter.
        required: Parameters that must be there.
        not_nullable: Parameters that may not be null.

    Raises:
        ApiError: 400, naming the parameter.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "We could not parse the JSON body of your request: it is not an object.")
    nullable = [name for name in fields if name not in not_nullable]
    check_fields(body, fields, required=required, nullable=nullable)
    return {name: value for name, value in body.items() if value is not None}


def query_integer(query: Mapping[str, str], name: str, default: int, *, minimum: int, maximum: int) -> int:
    """Read an integer in a range from the query string.

    Raises:
        ApiError: 400 where it is none, or out of range.
    """
    text = query.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError:
        raise invalid_type(name, "an integer", text) from None
    _range(value, name, minimum, maximum, "integer")
    return value
