"""Request bodies and list queries, checked against the Assistants API's contract.

What a check returns holds the parameters that were given. Of a request that creates, those that were null are left
out: null is as good as not given. Of one that changes, null stays, since it clears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assistantguard._parameters import enumeration, parsed, query_integer
from assistantguard.dropin.fields import (
    CHANGED_ASSISTANT,
    CHANGED_METADATA,
    CHANGED_THREAD,
    CODE_RESOURCES,
    NEW_ASSISTANT,
    NEW_RUN,
    NEW_THREAD,
    NEW_THREAD_AND_RUN,
    OUTPUTS,
    message,
)
from assistantguard.dropin.problems import not_served
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

_ORDER = enumeration("asc", "desc")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ListQuery(Value):
    """Which page of a list is wanted."""

    limit: int = 20
    """1 to 100."""
    descending: bool = True
    """Newest first."""
    after: str | None = None
    """The id of the object that the page follows, or None."""
    before: str | None = None
    """The id of the object that the page precedes, or None."""
    run_id: str | None = None
    """Only messages that this run wrote, or None for all."""


def assistant_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /assistants``.

    Args:
        body: The JSON document, or None for an empty body; so too below.

    Raises:
        ApiProblem: 400, naming the parameter; so too below.
    """
    return parsed(body, NEW_ASSISTANT)


def assistant_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /assistants/{id}``."""
    return parsed(body, CHANGED_ASSISTANT)


def thread_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads``."""
    return parsed(body, NEW_THREAD)


def thread_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}``."""
    return parsed(body, CHANGED_THREAD)


def message_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/messages``."""
    return parsed(body, message)


def message_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/messages/{id}``."""
    return parsed(body, CHANGED_METADATA)


def run_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/runs``."""
    return parsed(body, NEW_RUN)


def run_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/runs/{id}``."""
    return parsed(body, CHANGED_METADATA)


def thread_and_run_parameters(body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check ``POST /threads/runs``.

    The request's own `tool_resources` are taken for the new thread's, which are what the run reads.

    Returns:
        The thread's parameters, and the run's.
    """
    run = parsed(body, NEW_THREAD_AND_RUN)
    thread = run.pop("thread", {})
    more = run.pop("tool_resources", None)
    if more:
        thread["tool_resources"] = _joined(thread.get("tool_resources", {}), more)
    return thread, run


def tool_outputs(body: Any) -> tuple[list[dict[str, str]], bool]:
    """Check ``POST …/submit_tool_outputs``.

    Returns:
        The outputs, each with `tool_call_id` and `output`; and whether the answer is to be streamed.
    """
    accepted = parsed(body, OUTPUTS)
    outputs = [
        {"tool_call_id": one["tool_call_id"], "output": one.get("output", "")} for one in accepted["tool_outputs"]
    ]
    return outputs, accepted.get("stream", False)


def list_query(query: Sequence[tuple[str, str]]) -> ListQuery:
    """Check the query of a list. An empty text is as good as none, and other names are not looked at."""
    given = {name: text for name, text in query if text}
    limit = query_integer(given.get("limit"), "limit", 20, minimum=1, maximum=100)
    order = _ORDER(given.get("order", "desc"), "order")
    return ListQuery(limit, order == "desc", given.get("after"), given.get("before"), given.get("run_id"))


def _joined(own: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    joined = {**own}
    files = [
        *own.get("code_interpreter", {}).get("file_ids", ()),
        *more.get("code_interpreter", {}).get("file_ids", ()),
    ]
    if files:
        param = "tool_resources.code_interpreter"
        joined["code_interpreter"] = CODE_RESOURCES({"file_ids": list(dict.fromkeys(files))}, param)
    stores = more.get("file_search", {}).get("vector_store_ids", [])
    if stores:
        search = own.get("file_search", {})
        if search.get("vector_stores") or search.get("vector_store_ids", stores) != stores:
            raise not_served(
                "'thread.tool_resources.file_search' and 'tool_resources.file_search' name two vector stores, and a"
                " thread has one",
                "name one of them, or put all files into one store",
            )
        joined["file_search"] = {"vector_store_ids": stores}
    return joined
