"""Errors in OpenAI's own shape, status and wording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ApiError",
    "below_minimum",
    "invalid_type",
    "invalid_value",
    "locked",
    "missing",
    "name_of_type",
    "not_found",
    "rejected",
    "script_problem",
    "unknown_parameter",
]


class ApiError(Exception):
    """An answer other than 2xx.

    Attributes:
        status: HTTP status.
        body: The JSON document sent, ``{"error": {message, type, param, code}}``.
        headers: Headers sent with it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        self.headers: dict[str, str] = dict(headers or {})


def rejected(message: str, param: str | None, code: str | None = None) -> ApiError:
    """Make a 400 ``invalid_request_error``."""
    return ApiError(400, message, param=param, code=code)


def missing(param: str) -> ApiError:
    """Make the 400 for a required parameter that is not there."""
    return rejected(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def unknown_parameter(param: str) -> ApiError:
    """Make the 400 for a parameter that the endpoint does not know."""
    return rejected(f"Unknown parameter: '{param}'.", param, "unknown_parameter")


def name_of_type(value: object) -> str:
    """Return the name the API gives to the type of a JSON value."""
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


def invalid_type(param: str, expected: str, value: object) -> ApiError:
    """Make the 400 for a value of the wrong JSON type."""
    return rejected(
        f"Invalid type for '{param}': expected {expected}, but got {name_of_type(value)} instead.",
        param,
        "invalid_type",
    )


def invalid_value(param: str, value: str, supported: Sequence[str]) -> ApiError:
    """Make the 400 for a string outside an enumeration."""
    quoted = [f"'{name}'" for name in supported]
    listed = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
    if len(quoted) > 2:
        listed = f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    return rejected(f"Invalid value: '{value}'. Supported values are: {listed}.", param, "invalid_value")


def below_minimum(param: str, minimum: float, value: float) -> ApiError:
    """Make the 400 for a number below its minimum."""
    kind = "integer" if isinstance(value, int) else "decimal"
    return rejected(
        f"Invalid '{param}': {kind} below minimum value. Expected a value >= {minimum}, but got {value} instead.",
        param,
        f"{kind}_below_min_value",
    )


def not_found(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """Make a 404 ``invalid_request_error``."""
    return ApiError(404, message, param=param, code=code)


def locked() -> ApiError:
    """Make the 400 for a conversation that another request works on."""
    return rejected(
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        "conversation",
        "conversation_locked",
    )


def script_problem(code: str, message: str) -> ApiError:
    """Make the 500 that says the test's script cannot go on. It tells clients not to try again."""
    return ApiError(500, f"Sandbox: {message}", kind="sandbox_error", code=code, headers={"x-should-retry": "false"})
