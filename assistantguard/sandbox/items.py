"""Input items: checked, and brought into the form in which the API stores and shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard._parameters import array, enumeration, mapping, string
from assistantguard._refusals import ApiProblem, invalid, missing, unsupported, wrong_type
from assistantguard.sandbox.state import Item
from assistantguard.sandbox.validation import check_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from assistantguard._parameters import Check
    from assistantguard.sandbox.state import Ids

__all__ = ["as_items", "normalised"]

ITEM_TYPES = (
    "additional_tools",
    "agent_message",
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "file_search_call",
    "function_call",
    "function_call_output",
    "image_generation_call",
    "item_reference",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "message",
    "multi_agent_call",
    "multi_agent_call_output",
    "program",
    "program_output",
    "reasoning",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
)

_ROLES = ("assistant", "system", "developer", "user")
_CONTENT_TYPES = (
    "input_text",
    "input_image",
    "input_audio",
    "output_text",
    "refusal",
    "input_file",
    "computer_screenshot",
    "summary_text",
    "encrypted_content",
)
_ASSISTANT_CONTENT = ("output_text", "refusal")
_INPUT_CONTENT = ("input_text", "input_image", "input_file", "scoped_content", "input_audio")

_STATUS = enumeration("in_progress", "completed", "incomplete")
_TEXT = string(maximum=10_485_760)
_ANY_OBJECT = mapping


def _anything(value: Any, param: str) -> None:  # noqa: ARG001 - a check that accepts all
    return


_BREAKPOINT: dict[str, Check] = {"prompt_cache_breakpoint": _ANY_OBJECT}
_PARTS: dict[str, tuple[dict[str, Check], tuple[str, ...]]] = {
    "input_text": ({"type": string(), "text": _TEXT, **_BREAKPOINT}, ("text",)),
    "output_text": (
        {"type": string(), "text": _TEXT, "annotations": array(), "logprobs": array()},
        ("text",),
    ),
    "refusal": ({"type": string(), "refusal": _TEXT}, ("refusal",)),
    "input_image": (
        {
            "type": string(),
            "image_url": string(),
            "file_id": string(),
            "detail": enumeration("low", "high", "auto", "original"),
            **_BREAKPOINT,
        },
        (),
    ),
    "input_file": (
        {
            "type": string(),
            "file_id": string(),
            "file_data": string(),
            "file_url": string(),
            "filename": string(),
            "detail": string(),
            **_BREAKPOINT,
        },
        (),
    ),
}
_NULLABLE_IN_PART = ("image_url", "file_id", "file_data", "file_url", "filename", "logprobs")

_MESSAGE: dict[str, Check] = {
    "type": string(),
    "role": string(),
    "content": _anything,
    "id": string(minimum=1),
    "status": _STATUS,
}
_CALL: dict[str, Check] = {
    "type": string(),
    "call_id": string(minimum=1, maximum=64),
    "name": string(minimum=1, maximum=128),
    "arguments": _TEXT,
    "id": string(minimum=1),
    "status": _STATUS,
    "namespace": string(),
    "caller": _ANY_OBJECT,
    "async": _anything,
}
_OUTPUT: dict[str, Check] = {
    "type": string(),
    "call_id": string(minimum=1, maximum=64),
    "output": _anything,
    "id": string(minimum=1),
    "status": _STATUS,
    "name": string(),
    "namespace": string(),
    "caller": _ANY_OBJECT,
}
_REASONING: dict[str, Check] = {
    "type": string(),
    "id": string(minimum=1),
    "summary": array(_ANY_OBJECT),
    "content": array(_ANY_OBJECT),
    "encrypted_content": string(),
    "status": _STATUS,
}
_NULLABLE = ("id", "status", "namespace", "caller", "name", "content", "encrypted_content", "phase")

_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
    "file_search_call": "fs_",
    "web_search_call": "ws_",
    "code_interpreter_call": "ci_",
}


def _parts(value: Any, param: str, allowed: Sequence[str]) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise wrong_type(param, "one of a string or array of content parts", value)
    parts: list[dict[str, Any]] = []
    for position, part in enumerate(value):
        name = f"{param}[{position}]"
        if not isinstance(part, dict):
            raise wrong_type(name, "an object", part)
        kind = part.get("type", "")
        if kind not in _CONTENT_TYPES:
            raise unsupported(f"{name}.type", str(kind), _CONTENT_TYPES)
        if kind not in allowed:
            raise unsupported(name, kind, allowed)
        fields, required = _PARTS.get(kind, ({}, ()))
        if fields:
            check_fields(part, fields, required=required, nullable=_NULLABLE_IN_PART, prefix=f"{name}.")
        parts.append(_shown_part(part))
    return parts


def _shown_part(part: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in part.items() if value is not None}
    if shown["type"] == "output_text":
        shown.setdefault("annotations", [])
        shown.setdefault("logprobs", [])
    elif shown["type"] == "input_image":
        shown.setdefault("detail", "auto")
        shown.setdefault("image_url", None)
        shown.setdefault("file_id", None)
    return shown


def _message(value: dict[str, Any], param: str) -> dict[str, Any]:
    role = value.get("role", "")
    if role not in _ROLES:
        raise unsupported(param, str(role), _ROLES)
    if "content" not in value:
        raise missing(f"{param}.content")
    assistant = role == "assistant"
    phases: dict[str, Check] = {"phase": enumeration("commentary", "final_answer")} if assistant else {}
    check_fields(value, {**_MESSAGE, **phases}, nullable=_NULLABLE, prefix=f"{param}.")
    content = value["content"]
    if isinstance(content, str):
        content = [{"type": "output_text" if assistant else "input_text", "text": content}]
    shown = {
        "type": "message",
        "role": role,
        "content": _parts(content, f"{param}.content", _ASSISTANT_CONTENT if assistant else _INPUT_CONTENT),
    }
    if assistant and value.get("phase") is not None:
        shown["phase"] = value["phase"]
    return shown


def _call(value: dict[str, Any], param: str) -> dict[str, Any]:
    required = ("call_id", "name", "arguments")
    check_fields(value, _CALL, required=required, nullable=_NULLABLE, prefix=f"{param}.")
    return {name: value[name] for name in ("type", *required)}


def _output(value: dict[str, Any], param: str) -> dict[str, Any]:
    check_fields(value, _OUTPUT, required=("call_id", "output"), nullable=_NULLABLE, prefix=f"{param}.")
    output = value["output"]
    if not isinstance(output, str):
        output = _parts(output, f"{param}.output", _INPUT_CONTENT)
    else:
        _TEXT(output, f"{param}.output")
    return {"type": "function_call_output", "call_id": value["call_id"], "output": output}


def _reasoning(value: dict[str, Any], param: str) -> dict[str, Any]:
    check_fields(value, _REASONING, required=("summary",), nullable=_NULLABLE, prefix=f"{param}.")
    return {name: part for name, part in value.items() if part is not None and name not in {"id", "status"}}


_SHAPES: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "reasoning": _reasoning,
}


def normalised(value: Any, param: str, ids: Ids) -> dict[str, Any]:
    """Check one input item and return it as the API stores it, with an id and a status.

    Raises:
        ApiProblem: 400, naming the place.
    """
    if not isinstance(value, dict):
        raise wrong_type(param, "an input item", value)
    kind = value.get("type", "message")
    if kind not in ITEM_TYPES:
        raise unsupported(param, kind if isinstance(kind, str) else "", ITEM_TYPES)
    shape = _SHAPES.get(kind)
    if shape is None:
        shown = dict(value)
        shown.setdefault("id", ids.make(_PREFIXES.get(kind, "item_")))
        return shown
    shown = shape(value, param)
    item_id = value.get("id") or ids.make(_PREFIXES[kind])
    shown = {"id": item_id, **shown}
    if kind != "reasoning":
        shown["status"] = value.get("status") or "completed"
    return shown


def as_items(
    value: Any,
    ids: Ids,
    *,
    known: Callable[[str], Item | None],
    taken: Callable[[str], bool],
    param: str = "input",
) -> list[Item]:
    """Turn an `input` into items.

    Args:
        value: A text, or an array of input items.
        ids: Makes the ids that are not given.
        known: Finds the item of an `item_reference`.
        taken: Whether an id already stands in the context.
        param: Name used in errors.

    Raises:
        ApiProblem: 400 where the input is malformed, 404 where a referenced item does not exist.
    """
    if isinstance(value, str):
        _TEXT(value, param)
        value = [{"role": "user", "content": value}]
    if not isinstance(value, list):
        raise wrong_type(param, "one of a string or array of input items", value)
    items: list[Item] = []
    seen: set[str] = set()
    for position, one in enumerate(value):
        name = f"{param}[{position}]"
        if isinstance(one, dict) and one.get("type") == "item_reference":
            item = known(str(one.get("id")))
            if item is None:
                raise ApiProblem(404, f"Item with id '{one.get('id')}' not found.", param=param)
        else:
            item = Item.of(normalised(one, name, ids))
        item_id = item.data["id"]
        if item_id in seen or taken(item_id):
            raise invalid(
                param,
                f"Duplicate item found with id {item_id}. Remove duplicate items from your input and try again.",
            )
        seen.add(item_id)
        items.append(item)
    return items
