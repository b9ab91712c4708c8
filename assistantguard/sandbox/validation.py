"""Tables of what the fields of an object may be.

An endpoint's parameters are a table of checks, in the order of which they are checked; a parameter outside the table
is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistantguard._parameters import Check, mapping
from assistantguard._refusals import invalid, missing, unknown_parameter

__all__ = ["check_body", "check_fields", "obj"]


def obj(fields: Mapping[str, Check], *, required: Sequence[str] = (), nullable: Sequence[str] = ()) -> Check:
    """Accept an object with these fields."""

    def check(value: Any, param: str) -> Any:
        check_fields(mapping(value, param), fields, required=required, nullable=nullable, prefix=f"{param}.")
        return value

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
        ApiProblem: 400, naming the parameter.
    """
    if not isinstance(body, dict):
        raise invalid(None, "We could not parse the JSON body of your request: it is not an object.")
    nullable = [name for name in fields if name not in not_nullable]
    check_fields(body, fields, required=required, nullable=nullable)
    return {name: value for name, value in body.items() if value is not None}
