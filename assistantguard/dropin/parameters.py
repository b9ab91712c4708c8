"""Request bodies and list queries, checked against the Assistants API's contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistantguard.models.values import Value

__all__ = [
    "ListQuery",
    "assistant_changes",
    "assistant_parameters",
    "list_query",
    "message_changes",
    "message_parameters",
    "run_changes",
    "run_parameters",
    "thread_and_run_parameters",
    "thread_changes",
    "thread_parameters",
    "tool_outputs",
]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ListQuery(Value):
    """Which page of a list is wanted."""

    limit: int = 20
    descending: bool = True
    after: str | None = None
    before: str | None = None
    run_id: str | None = None
    """Only messages that this run wrote."""


def assistant_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /assistants``."""
    raise NotImplementedError


def assistant_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /assistants/{id}``."""
    raise NotImplementedError


def thread_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads``."""
    raise NotImplementedError


def thread_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}``."""
    raise NotImplementedError


def message_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/messages``."""
    raise NotImplementedError


def message_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/messages/{id}``."""
    raise NotImplementedError


def run_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/runs``."""
    raise NotImplementedError


def run_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/runs/{id}``."""
    raise NotImplementedError


def thread_and_run_parameters(body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check ``POST /threads/runs``; the thread's parameters and the run's."""
    raise NotImplementedError


def tool_outputs(body: Any) -> tuple[list[dict[str, str]], bool]:
    """Check ``POST …/submit_tool_outputs``; the outputs, and whether to stream."""
    raise NotImplementedError


def list_query(query: Sequence[tuple[str, str]]) -> ListQuery:
    """Check the query of a list."""
    raise NotImplementedError
