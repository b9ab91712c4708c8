"""Request bodies and list queries, checked against the Assistants API's contract.

What a check returns holds the parameters that were given. Of a request that creates, those that were null are left
out: null is as good as not given. Of one that changes, null stays, since it clears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assistantguard.dropin.checks import (
    Check,
    Fields,
    array,
    boolean,
    enumeration,
    integer,
    mapping,
    metadata,
    missing,
    number,
    parsed,
    string,
    tagged,
    text_matching,
    wrong_type,
)
from assistantguard.dropin.problems import invalid, not_served
from assistantguard.models.values import Value

__all__ = [
    "MOST_CODE_INTERPRETER_FILES",
    "MOST_INSTRUCTIONS",
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

MOST_INSTRUCTIONS = 256_000
"""Characters."""
MOST_CODE_INTERPRETER_FILES = 20
"""Files that an assistant, or a thread, gives to its code interpreter."""

_MOST_TOOLS = 128
_MOST_TOOLS_OF_A_RUN = 20
_MOST_STORE_FILES = 100_000_000
_LEAST_TOKENS = 256
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


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


_ANY_TEXT = string()
_ID = string(minimum=1)
_IDS = array(_ID, of="strings")
_NAME = text_matching("[a-zA-Z0-9_-]+", maximum=64)
_TYPE: dict[str, Check] = {"type": _ANY_TEXT}

_CODE_INTERPRETER = Fields(_TYPE, required=("type",))
_FILE_SEARCH = Fields(
    {
        "type": _ANY_TEXT,
        "file_search": Fields(
            {
                "max_num_results": integer(minimum=1, maximum=50),
                "ranking_options": Fields(
                    {
                        "ranker": enumeration("auto", "default_2024_08_21"),
                        "score_threshold": number(minimum=0, maximum=1),
                    },
                    required=("score_threshold",),
                ),
            }
        ),
    }
)
_FUNCTION = Fields(
    {
        "type": _ANY_TEXT,
        "function": Fields(
            {"name": _NAME, "description": _ANY_TEXT, "parameters": mapping, "strict": boolean}, required=("name",)
        ),
    },
    required=("function",),
)
_TOOL = tagged({"code_interpreter": _CODE_INTERPRETER, "file_search": _FILE_SEARCH, "function": _FUNCTION})

_CHUNKING = tagged(
    {
        "auto": Fields(_TYPE),
        "static": Fields(
            {
                "type": _ANY_TEXT,
                "static": Fields(
                    {
                        "max_chunk_size_tokens": integer(minimum=100, maximum=4096),
                        "chunk_overlap_tokens": integer(minimum=0),
                    },
                    required=("max_chunk_size_tokens", "chunk_overlap_tokens"),
                ),
            },
            required=("static",),
        ),
    }
)
_CODE_RESOURCES = Fields({"file_ids": array(_ID, of="strings", maximum=MOST_CODE_INTERPRETER_FILES)})
_STORE_IDS = array(_ID, of="strings", maximum=1)
_STORES = array(
    Fields(
        {
            "file_ids": array(_ID, of="strings", maximum=_MOST_STORE_FILES),
            "chunking_strategy": _CHUNKING,
            "metadata": metadata,
        }
    ),
    maximum=1,
)
_SEARCH_RESOURCES = Fields({"vector_store_ids": _STORE_IDS, "vector_stores": _STORES})


def _search_resources(value: Any, param: str) -> dict[str, Any]:
    accepted = _SEARCH_RESOURCES(value, param)
    if accepted.get("vector_store_ids") and accepted.get("vector_stores"):
        raise invalid(
            param,
            f"Invalid '{param}': only one of 'vector_store_ids' and 'vector_stores' may be given.",
            "invalid_value",
        )
    return accepted


_NEW_RESOURCES = Fields({"code_interpreter": _CODE_RESOURCES, "file_search": _search_resources})
_RESOURCES = Fields({"code_interpreter": _CODE_RESOURCES, "file_search": Fields({"vector_store_ids": _STORE_IDS})})

_FORMAT = tagged(
    {
        "text": Fields(_TYPE),
        "json_object": Fields(_TYPE),
        "json_schema": Fields(
            {
                "type": _ANY_TEXT,
                "json_schema": Fields(
                    {"name": _NAME, "description": _ANY_TEXT, "schema": mapping, "strict": boolean}, required=("name",)
                ),
            },
            required=("json_schema",),
        ),
    }
)
_AUTO = enumeration("auto")


def _response_format(value: Any, param: str) -> Any:
    return _AUTO(value, param) if isinstance(value, str) else _FORMAT(value, param)


_CHOICE = enumeration("none", "auto", "required")
_NAMED_CHOICE = tagged(
    {
        "function": Fields(
            {"type": _ANY_TEXT, "function": Fields({"name": _NAME}, required=("name",))}, required=("function",)
        ),
        "code_interpreter": Fields({"type": _ANY_TEXT, "function": mapping}),
        "file_search": Fields({"type": _ANY_TEXT, "function": mapping}),
    }
)


def _tool_choice(value: Any, param: str) -> Any:
    return _CHOICE(value, param) if isinstance(value, str) else _NAMED_CHOICE(value, param)


_TRUNCATION = Fields(
    {"type": enumeration("auto", "last_messages"), "last_messages": integer(minimum=1)}, required=("type",)
)


def _truncation_strategy(value: Any, param: str) -> dict[str, Any]:
    accepted = _TRUNCATION(value, param)
    if accepted["type"] == "last_messages" and "last_messages" not in accepted:
        raise missing(f"{param}.last_messages")
    return accepted


_DETAIL = enumeration("auto", "low", "high")
_PART = tagged(
    {
        "text": Fields({"type": _ANY_TEXT, "text": _ANY_TEXT}, required=("text",)),
        "image_url": Fields(
            {"type": _ANY_TEXT, "image_url": Fields({"url": _ID, "detail": _DETAIL}, required=("url",))},
            required=("image_url",),
        ),
        "image_file": Fields(
            {"type": _ANY_TEXT, "image_file": Fields({"file_id": _ID, "detail": _DETAIL}, required=("file_id",))},
            required=("image_file",),
        ),
    }
)
_PARTS = array(_PART, minimum=1)


def _content(value: Any, param: str) -> Any:
    if isinstance(value, str):
        if not value:
            raise invalid(param, "Message content must be non-empty.")
        return value
    if not isinstance(value, list):
        raise wrong_type(param, "one of a string or array of objects", value)
    return _PARTS(value, param)


_ATTACHMENT = Fields(
    {
        "file_id": _ID,
        "tools": array(tagged({"code_interpreter": _CODE_INTERPRETER, "file_search": Fields(_TYPE)})),
    },
    required=("file_id", "tools"),
)
_MESSAGE_FIELDS = Fields(
    {
        "role": enumeration("user", "assistant"),
        "content": _content,
        "attachments": array(_ATTACHMENT),
        "metadata": metadata,
    },
    required=("role", "content"),
)


def _message(value: Any, param: str) -> dict[str, Any]:
    accepted = _MESSAGE_FIELDS(value, param)
    if accepted["role"] == "assistant" and not isinstance(accepted["content"], str):
        for part in accepted["content"]:
            if part["type"] != "text":
                raise not_served(
                    "The Responses API takes no images in an assistant's message",
                    "send the image in a message of the user",
                )
    return accepted


_MESSAGES = array(_message)

_SETTINGS: dict[str, Check] = {
    "model": _ID,
    "reasoning_effort": enumeration(*_EFFORTS),
    "instructions": string(maximum=MOST_INSTRUCTIONS),
    "metadata": metadata,
    "temperature": number(minimum=0, maximum=2),
    "top_p": number(minimum=0, maximum=1),
    "response_format": _response_format,
}
_ASSISTANT: dict[str, Check] = {
    **_SETTINGS,
    "name": string(maximum=256),
    "description": string(maximum=512),
    "tools": array(_TOOL, maximum=_MOST_TOOLS),
}
_NULLABLE_OF_AN_ASSISTANT = tuple({**_ASSISTANT, "tool_resources": 1}.keys() - {"model", "tools"})
_NEW_ASSISTANT = Fields(
    {**_ASSISTANT, "tool_resources": _NEW_RESOURCES}, required=("model",), nullable=_NULLABLE_OF_AN_ASSISTANT
)
_CHANGED_ASSISTANT = Fields(
    {**_ASSISTANT, "tool_resources": _RESOURCES}, nullable=_NULLABLE_OF_AN_ASSISTANT, keeps_null=True
)
_NEW_THREAD = Fields(
    {"messages": _MESSAGES, "tool_resources": _NEW_RESOURCES, "metadata": metadata},
)
_CHANGED_THREAD = Fields({"tool_resources": _RESOURCES, "metadata": metadata}, keeps_null=True)
_CHANGED_METADATA = Fields({"metadata": metadata}, keeps_null=True)

_RUN: dict[str, Check] = {
    **_SETTINGS,
    "assistant_id": _ID,
    "tools": array(_TOOL, maximum=_MOST_TOOLS_OF_A_RUN),
    "stream": boolean,
    "max_prompt_tokens": integer(minimum=_LEAST_TOKENS),
    "max_completion_tokens": integer(minimum=_LEAST_TOKENS),
    "truncation_strategy": _truncation_strategy,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": boolean,
}
_NEW_RUN_FIELDS: dict[str, Check] = {
    **_RUN,
    "additional_instructions": string(maximum=MOST_INSTRUCTIONS),
    "additional_messages": _MESSAGES,
}
_NEW_RUN = Fields(
    _NEW_RUN_FIELDS,
    required=("assistant_id",),
    nullable=tuple(_NEW_RUN_FIELDS.keys() - {"assistant_id", "parallel_tool_calls"}),
)
_NEW_THREAD_AND_RUN_FIELDS: dict[str, Check] = {**_RUN, "thread": _NEW_THREAD, "tool_resources": _RESOURCES}
_NEW_THREAD_AND_RUN = Fields(
    _NEW_THREAD_AND_RUN_FIELDS,
    required=("assistant_id",),
    nullable=tuple(_NEW_THREAD_AND_RUN_FIELDS.keys() - {"assistant_id", "parallel_tool_calls", "thread"}),
)
_OUTPUTS = Fields(
    {
        "tool_outputs": array(Fields({"tool_call_id": _ANY_TEXT, "output": _ANY_TEXT}, required=("tool_call_id",))),
        "stream": boolean,
    },
    required=("tool_outputs",),
)
_LIMIT = integer(minimum=1, maximum=100)
_ORDER = enumeration("asc", "desc")


def assistant_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /assistants``.

    Args:
        body: The JSON document, or None for an empty body; so too below.

    Raises:
        ApiProblem: 400, naming the parameter; so too below.
    """
    return parsed(body, _NEW_ASSISTANT)


def assistant_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /assistants/{id}``."""
    return parsed(body, _CHANGED_ASSISTANT)


def thread_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads``."""
    return parsed(body, _NEW_THREAD)


def thread_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}``."""
    return parsed(body, _CHANGED_THREAD)


def message_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/messages``."""
    return parsed(body, _message)


def message_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/messages/{id}``."""
    return parsed(body, _CHANGED_METADATA)


def run_parameters(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/runs``."""
    return parsed(body, _NEW_RUN)


def run_changes(body: Any) -> dict[str, Any]:
    """Check ``POST /threads/{id}/runs/{id}``."""
    return parsed(body, _CHANGED_METADATA)


def thread_and_run_parameters(body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check ``POST /threads/runs``.

    The request's own `tool_resources` are taken for the new thread's, which are what the run reads.

    Returns:
        The thread's parameters, and the run's.
    """
    run = parsed(body, _NEW_THREAD_AND_RUN)
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
    accepted = parsed(body, _OUTPUTS)
    outputs = [
        {"tool_call_id": one["tool_call_id"], "output": one.get("output", "")} for one in accepted["tool_outputs"]
    ]
    return outputs, accepted.get("stream", False)


def list_query(query: Sequence[tuple[str, str]]) -> ListQuery:
    """Check the query of a list. An empty text is as good as none, and other names are not looked at."""
    given = {name: text for name, text in query if text}
    limit, order = 20, "desc"
    if "limit" in given:
        text = given["limit"]
        try:
            limit = int(text)
        except ValueError:
            raise wrong_type("limit", "an integer", text) from None
        _LIMIT(limit, "limit")
    if "order" in given:
        order = _ORDER(given["order"], "order")
    return ListQuery(limit, order == "desc", given.get("after"), given.get("before"), given.get("run_id"))


def _joined(own: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    joined = {**own}
    files = [
        *own.get("code_interpreter", {}).get("file_ids", ()),
        *more.get("code_interpreter", {}).get("file_ids", ()),
    ]
    if files:
        param = "tool_resources.code_interpreter"
        joined["code_interpreter"] = _CODE_RESOURCES({"file_ids": list(dict.fromkeys(files))}, param)
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
