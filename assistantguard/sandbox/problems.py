"""Refusals that only the sandbox makes."""

from __future__ import annotations

from assistantguard._refusals import ApiProblem, invalid

__all__ = ["locked", "not_found", "script_problem"]


def not_found(message: str, *, param: str | None = None, code: str | None = None) -> ApiProblem:
    """Make a 404 ``invalid_request_error``."""
    return ApiProblem(404, message, param=param, code=code)


def locked() -> ApiProblem:
    """Make the 400 for a conversation that another request works on."""
    return invalid(
        "conversation",
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        "conversation_locked",
    )


def script_problem(code: str, message: str) -> ApiProblem:
    """Make the 500 that says the test's script cannot go on. It tells clients not to try again."""
    return ApiProblem(500, f"Sandbox: {message}", kind="sandbox_error", code=code, headers={"x-should-retry": "false"})
