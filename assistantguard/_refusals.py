"""An API's refusals, in OpenAI's own shape, status and wording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "ApiProblem",
    "invalid",
    "listed",
    "missing",
    "out_of_range",
    "unknown_parameter",
    "unsupported",
    "wrong_type",
]


class ApiProblem(Exception):
    """An answer other than 2xx.

    Attributes:
        status: HTTP status.
        message: What the application reads.
        kind: The error's ``type``.
        param: The parameter that is wrong, or None.
        code: The error's ``code``, or None.
        headers: Headers sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON document to send."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(param: str | None, message: str, code: str | None = None) -> ApiProblem:
    """400 for a parameter that the API does not accept.

    Args:
        param: Its name, with dots and indices for a nested one; None for the body itself.
        message: What is wrong with it.
        code: The error's ``code``, where there is one.
    """
    return ApiProblem(400, message, param=param, code=code)


def missing(param: str) -> ApiProblem:
    """400 for a required parameter that is not there."""
    return invalid(param, f"Missing required parameter: '{param}'.", "missing_required_parameter")


def unknown_parameter(param: str) -> ApiProblem:
    """400 for a parameter that the endpoint does not know."""
    return invalid(param, f"Unknown parameter: '{param}'.", "unknown_parameter")


def wrong_type(param: str, expected: str, value: object) -> ApiProblem:
    """400 for a value of the wrong JSON type; `expected` has its article."""
    return invalid(
        param, f"Invalid type for '{param}': expected {expected}, but got {_type_name(value)} instead.", "invalid_type"
    )


def unsupported(param: str, value: str, supported: Sequence[str]) -> ApiProblem:
    """400 for a text outside an enumeration."""
    return invalid(
        param, f"Invalid value: '{value}'. Supported values are: {listed(supported, 'and')}.", "invalid_value"
    )


def out_of_range(param: str, value: float, kind: str, *, minimum: float | None, maximum: float | None) -> ApiProblem:
    """400 for a number below its minimum or above its maximum.

    Args:
        param: The parameter's name.
        value: What was given.
        kind: ``"integer"`` or ``"decimal"``.
        minimum: The least that is accepted, where the value is below it; else None.
        maximum: The most that is accepted, where the value is above it; else None.
    """
    side, sign, bound = ("below", ">=", minimum) if minimum is not None else ("above", "<=", maximum)
    limit = "minimum" if side == "below" else "maximum"
    return invalid(
        param,
        f"Invalid '{param}': {kind} {side} {limit} value. Expected a value {sign} {bound}, but got {value} instead.",
        f"{kind}_{side}_{limit[:3]}_value",
    )


def listed(names: Sequence[str], joiner: str) -> str:
    """Names in quotes, as in a sentence: ``'a', 'b', and 'c'``."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > 2:
        return f"{', '.join(quoted[:-1])}, {joiner} {quoted[-1]}"
    return f" {joiner} ".join(quoted)


def _type_name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
