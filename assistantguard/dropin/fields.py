"""What the Assistants API's request bodies may hold, as tables of checks."""

from __future__ import annotations

from typing import Any

from assistantguard._parameters import (
    Check,
    Fields,
    array,
    boolean,
    enumeration,
    integer,
    mapping,
    metadata,
    number,
    string,
    tagged,
    text_matching,
)
from assistantguard._refusals import invalid, missing, wrong_type
from assistantguard.dropin.problems import not_served

__all__ = [
    "CHANGED_ASSISTANT",
    "CHANGED_METADATA",
    "CHANGED_THREAD",
    "CODE_RESOURCES",
    "MOST_INSTRUCTIONS",
    "NEW_ASSISTANT",
    "NEW_RUN",
    "NEW_THREAD",
    "NEW_THREAD_AND_RUN",
    "OUTPUTS",
    "message",
]

MOST_INSTRUCTIONS = 256_000
"""Characters."""
_MOST_CODE_FILES = 20
"""Files that an assistant, or a thread, gives to its code interpreter."""

_MOST_TOOLS = 128
_MOST_TOOLS_OF_A_RUN = 20
_MOST_STORE_FILES = 100_000_000
_LEAST_TOKENS = 256
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

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


def _tools(most: int) -> Check:
    check = array(_TOOL, maximum=most)

    def uniquely_named(value: Any, param: str) -> Any:
        accepted = check(value, param)
        names: set[str] = set()
        for position, tool in enumerate(accepted):
            name = tool["function"]["name"] if tool["type"] == "function" else None
            if name in names:
                raise invalid(
                    f"{param}[{position}].function.name",
                    f"Invalid '{param}[{position}].function.name': another function is named '{name}' already.",
                    "invalid_value",
                )
            if name is not None:
                names.add(name)
        return accepted

    return uniquely_named


_CHUNKS = Fields(
    {"max_chunk_size_tokens": integer(minimum=100, maximum=4096), "chunk_overlap_tokens": integer(minimum=0)},
    required=("max_chunk_size_tokens", "chunk_overlap_tokens"),
)


def _static_chunking(value: Any, param: str) -> dict[str, Any]:
    accepted = _CHUNKS(value, param)
    most = accepted["max_chunk_size_tokens"] // 2
    integer(maximum=most)(accepted["chunk_overlap_tokens"], f"{param}.chunk_overlap_tokens")
    return accepted


_CHUNKING = tagged(
    {
        "auto": Fields(_TYPE),
        "static": Fields({"type": _ANY_TEXT, "static": _static_chunking}, required=("static",)),
    }
)
CODE_RESOURCES = Fields({"file_ids": array(_ID, of="strings", maximum=_MOST_CODE_FILES)})
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


_NEW_RESOURCES = Fields({"code_interpreter": CODE_RESOURCES, "file_search": _search_resources})
_RESOURCES = Fields({"code_interpreter": CODE_RESOURCES, "file_search": Fields({"vector_store_ids": _STORE_IDS})})

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


def message(value: Any, param: str) -> dict[str, Any]:
    """A message's parameters, in a request of its own or in a list."""
    accepted = _MESSAGE_FIELDS(value, param)
    if accepted["role"] == "assistant" and not isinstance(accepted["content"], str):
        for part in accepted["content"]:
            if part["type"] != "text":
                raise not_served(
                    "The Responses API takes no images in an assistant's message",
                    "send the image in a message of the user",
                )
    return accepted


_MESSAGES = array(message)


def _model(value: Any, param: str) -> Any:
    if not _ANY_TEXT(value, param).strip():
        raise invalid(param, "you must provide a model parameter")
    return value


_SETTINGS: dict[str, Check] = {
    "model": _model,
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
    "tools": _tools(_MOST_TOOLS),
}
_NULLABLE_OF_AN_ASSISTANT = tuple({**_ASSISTANT, "tool_resources": 1}.keys() - {"model", "tools"})
NEW_ASSISTANT = Fields(
    {**_ASSISTANT, "tool_resources": _NEW_RESOURCES}, required=("model",), nullable=_NULLABLE_OF_AN_ASSISTANT
)
CHANGED_ASSISTANT = Fields(
    {**_ASSISTANT, "tool_resources": _RESOURCES}, nullable=_NULLABLE_OF_AN_ASSISTANT, keeps_null=True
)
NEW_THREAD = Fields(
    {"messages": _MESSAGES, "tool_resources": _NEW_RESOURCES, "metadata": metadata},
)
CHANGED_THREAD = Fields({"tool_resources": _RESOURCES, "metadata": metadata}, keeps_null=True)
CHANGED_METADATA = Fields({"metadata": metadata}, keeps_null=True)

_RUN: dict[str, Check] = {
    **_SETTINGS,
    "assistant_id": _ID,
    "tools": _tools(_MOST_TOOLS_OF_A_RUN),
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
NEW_RUN = Fields(
    _NEW_RUN_FIELDS,
    required=("assistant_id",),
    nullable=tuple(_NEW_RUN_FIELDS.keys() - {"assistant_id", "parallel_tool_calls"}),
)
_NEW_THREAD_AND_RUN_FIELDS: dict[str, Check] = {**_RUN, "thread": NEW_THREAD, "tool_resources": _RESOURCES}
NEW_THREAD_AND_RUN = Fields(
    _NEW_THREAD_AND_RUN_FIELDS,
    required=("assistant_id",),
    nullable=tuple(_NEW_THREAD_AND_RUN_FIELDS.keys() - {"assistant_id", "parallel_tool_calls", "thread"}),
)
OUTPUTS = Fields(
    {
        "tool_outputs": array(Fields({"tool_call_id": _ANY_TEXT, "output": _ANY_TEXT}, required=("tool_call_id",))),
        "stream": boolean,
    },
    required=("tool_outputs",),
)
