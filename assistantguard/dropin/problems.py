"""Refusals in the Assistants API's own statuses and words."""

from __future__ import annotations

from collections.abc import Sequence

from assistantguard._refusals import ApiProblem

__all__ = [
    "cannot_cancel",
    "messages_locked",
    "not_found",
    "not_served",
    "outputs_not_accepted",
    "run_active",
    "unknown_cursor",
    "unknown_route",
    "wrong_method",
    "wrong_outputs",
]


def not_found(kind: str, id: str) -> ApiProblem:  # noqa: A002  the wire's own word
    """404 for an object that does not exist.

    Args:
        kind: ``"assistant"``, ``"thread"``, ``"message"``, ``"run"`` or ``"run step"``.
        id: The id that was asked for.
    """
    return ApiProblem(404, f"No {kind} found with id '{id}'.")


def messages_locked(thread_id: str, run_id: str) -> ApiProblem:
    """400 for a message to a thread whose run has not ended."""
    return ApiProblem(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")


def run_active(thread_id: str, run_id: str) -> ApiProblem:
    """400 for a second run on a thread whose run has not ended."""
    return ApiProblem(400, f"Thread {thread_id} already has an active run {run_id}.")


def wrong_outputs(expected: Sequence[str], got: Sequence[str]) -> ApiProblem:
    """400 for tool outputs that do not answer all pending calls, and only those."""
    return ApiProblem(400, f"Expected tool outputs for call_ids {_listed(expected)}, got {_listed(got)}")


def outputs_not_accepted(status: str) -> ApiProblem:
    """400 for tool outputs to a run that does not wait for any."""
    return ApiProblem(400, f'Runs in status "{status}" do not accept tool outputs.')


def cannot_cancel(status: str) -> ApiProblem:
    """400 for cancelling a run that has ended, or is being cancelled."""
    return ApiProblem(400, f"Cannot cancel run with status '{status}'.")


def unknown_cursor(id: str, param: str = "after") -> ApiProblem:  # noqa: A002  the wire's own word
    """404 for a page's cursor that is not in the list.

    Args:
        id: The cursor.
        param: ``"after"`` or ``"before"``.
    """
    return ApiProblem(404, f"Item with id '{id}' not found.", param=param)


def unknown_route(method: str, path: str) -> ApiProblem:
    """404 for a path that the API does not have."""
    return ApiProblem(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> ApiProblem:
    """405 for a path that does not take this method."""
    return ApiProblem(
        405, f"Not allowed to {method} on {path} (HINT: Perhaps you meant to use a different HTTP method?)"
    )


def not_served(what: str, mend: str) -> ApiProblem:
    """400 for what the Responses API leaves no way to preserve.

    Args:
        what: What is not served; a clause that starts the sentence.
        mend: What to do instead; a clause.
    """
    return ApiProblem(400, f"{what}: {mend}.", code="not_served_by_assistantguard")


def _listed(ids: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{one}'" for one in ids) + "]"
