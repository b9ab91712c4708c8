"""From the Assistants API's objects to what the Responses API takes, and back to the content of messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assistantguard.backends.reading import get
from assistantguard.dropin.problems import not_served
from assistantguard.models.assistant import Assistant

__all__ = [
    "assistant_for",
    "attached_files",
    "content_annotation",
    "input_item",
    "refusal_content",
    "text_content",
]

_MOST_CONTAINER_FILES = 50
_TOLD_ON_REQUEST = {"file_search": "file_search_call.results", "code_interpreter": "code_interpreter_call.outputs"}
_RESULTS = 20
_RESULTS_OF_GPT_3_5 = 5
"""How many chunks the Assistants API's file search gave a model; that of Responses gives fewer if not told."""


def assistant_for(
    run_body: Mapping[str, Any],
    assistant_body: Mapping[str, Any],
    thread_body: Mapping[str, Any],
    *,
    files: Sequence[str] = (),
    searches: bool = False,
) -> Assistant:
    """The assistant that answers in a run.

    A temperature, a `top_p` and a `response_format` that are the API's defaults are left to it, since some models
    refuse them. `max_completion_tokens` bounds each model call; what of it is left for the next one is the caller's to
    tell. `max_prompt_tokens` and `truncation_strategy` are the caller's too.

    Args:
        run_body: The run.
        assistant_body: Its assistant, for the name and the resources of its tools.
        thread_body: Its thread, for the resources of its tools.
        files: Further files for the code interpreter, such as `attached_files` finds in messages.
        searches: Whether the thread gets a vector store of its own, of files attached to its messages.

    Raises:
        ApiProblem: 400, the code interpreter would have more files than a container takes.
    """
    tools = _tools(run_body, assistant_body, thread_body, files, searches=searches)
    return Assistant(
        model=run_body["model"],
        instructions=run_body["instructions"] or "",
        tools=tools,
        name=assistant_body.get("name"),
        max_output_tokens=run_body["max_completion_tokens"],
        temperature=_unless_default(run_body.get("temperature"), 1),
        top_p=_unless_default(run_body.get("top_p"), 1),
        reasoning_effort=run_body.get("reasoning_effort"),
        response_format=_format(run_body.get("response_format")),
        tool_choice=_tool_choice(run_body.get("tool_choice"), tools),
        parallel_tool_calls=False if run_body.get("parallel_tool_calls") is False else None,
        metadata=dict(run_body.get("metadata") or {}),
        extra_body=_included(run_body["tools"]),
    )


def input_item(message_body: Mapping[str, Any]) -> dict[str, Any]:
    """A message as an input item of the Responses API.

    What an assistant said is one text there: only that form is taken without the id of the item it once was. Its texts
    and refusals are joined by line breaks; images that it made cannot be shown to a model again and are left out.
    Attachments are not part of an item.
    """
    content = message_body["content"]
    if message_body["role"] == "assistant":
        said = [_said(part) for part in content if part["type"] in {"text", "refusal"}]
        return {"type": "message", "role": "assistant", "content": "\n".join(said)}
    return {"type": "message", "role": "user", "content": [_input_part(part) for part in content]}


def text_content(text: str, annotations: Iterable[Any] = ()) -> list[dict[str, Any]]:
    """The content of a message that says `text`, with a mark such as ``【0†source】`` where it cites a file.

    The Responses API leaves these marks out. Programs replace them by footnotes, as the Assistants API's guide showed:
    without one they would replace nothing by their footnote, before every character.

    Args:
        text: What it says.
        annotations: Those of the Responses API, as dictionaries or as the SDK's objects. Citations of web pages have
            no counterpart and are left out.
    """
    shown = [one for one in (content_annotation(text, annotation) for annotation in annotations) if one is not None]
    return [{"type": "text", "text": _marked(text, shown)}]


def _marked(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    """Text and annotations with a mark in the text for each citation that has none."""
    parts: list[str] = []
    read = written = number = 0
    for annotation in sorted(annotations, key=lambda one: (one["start_index"], one["end_index"])):
        start, end = annotation["start_index"], annotation["end_index"]
        if start > read:
            parts.append(text[read:start])
            written, read = written + start - read, start
        annotation["start_index"] = written + start - read
        if annotation["type"] == "file_citation" and not annotation["text"]:
            annotation["text"] = f"【{number}†source】"
            parts.append(annotation["text"])
            written += len(annotation["text"])
            number += 1
        annotation["end_index"] = max(annotation["start_index"] + len(annotation["text"]), written + end - read)
    return {"value": "".join([*parts, text[read:]]), "annotations": annotations}


def refusal_content(refusal: str) -> list[dict[str, Any]]:
    """The content of a message in which the model refuses."""
    return [{"type": "refusal", "refusal": refusal}]


def content_annotation(text: str, annotation: Any) -> dict[str, Any] | None:
    """An annotation of the Responses API as one of a message of the Assistants API.

    Args:
        text: The text that it belongs to.
        annotation: A dictionary or the SDK's object. A ``file_citation`` points to a place, where the text has no mark;
            a file that code wrote points to the words that link it.

    Returns:
        A ``file_citation`` or a ``file_path``; None where there is no counterpart.
    """
    kind, file_id = get(annotation, "type"), get(annotation, "file_id")
    if not isinstance(file_id, str):
        return None
    if kind == "file_citation":
        place = _place(get(annotation, "index"), text)
        return _annotation(kind, file_id, "", place, place)
    if kind == "container_file_citation":
        start = _place(get(annotation, "start_index"), text)
        end = max(start, _place(get(annotation, "end_index"), text))
        return _annotation("file_path", file_id, text[start:end], start, end)
    if kind == "file_path":
        return _annotation(kind, file_id, "", len(text), len(text))
    return None


def attached_files(messages: Iterable[Mapping[str, Any]], tool: str) -> list[str]:
    """The files that are attached to messages for a tool.

    Args:
        messages: The messages.
        tool: ``"code_interpreter"`` or ``"file_search"``.

    Returns:
        Their ids, each once, in the order in which they are found.
    """
    return list(
        dict.fromkeys(
            attachment["file_id"]
            for message in messages
            for attachment in message.get("attachments") or ()
            if any(one["type"] == tool for one in attachment.get("tools") or ())
        )
    )


def _tools(
    run_body: Mapping[str, Any],
    assistant_body: Mapping[str, Any],
    thread_body: Mapping[str, Any],
    files: Sequence[str],
    *,
    searches: bool,
) -> list[dict[str, Any]]:
    tools: list[dict[str, Any]] = []
    seen: set[str] = set()
    for tool in run_body["tools"]:
        kind = tool["type"]
        if kind in seen:
            continue  # named twice, it is one tool still
        if kind == "function":
            function = {name: value for name, value in tool["function"].items() if value is not None}
            function.setdefault("parameters", {"type": "object", "properties": {}})
            function.setdefault("strict", False)
            tools.append({"type": "function", **function})
            continue
        seen.add(kind)
        if kind == "file_search":
            stores = _both(assistant_body, thread_body, "file_search", "vector_store_ids")
            if stores or searches:  # without one there is nothing to search, and the Responses API takes no such tool
                tools.append(_file_search(tool.get("file_search") or {}, stores, run_body["model"]))
        else:
            mine = list(dict.fromkeys([*_both(assistant_body, thread_body, "code_interpreter", "file_ids"), *files]))
            if len(mine) > _MOST_CONTAINER_FILES:
                raise not_served(
                    f"The code interpreter would have {len(mine)} files, and takes {_MOST_CONTAINER_FILES}",
                    "begin a new thread, or attach fewer files",
                )
            container: dict[str, Any] = {"type": "auto"}
            if mine:
                container["file_ids"] = mine
            tools.append({"type": "code_interpreter", "container": container})
    return tools


def _included(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the Responses API tells of tools only where it is asked for it: what a search found, what code printed."""
    wanted = [_TOLD_ON_REQUEST[kind] for kind in _TOLD_ON_REQUEST if any(tool["type"] == kind for tool in tools)]
    return {"include": wanted} if wanted else {}


def _file_search(options: Mapping[str, Any], stores: list[str], model: str) -> dict[str, Any]:
    results = options.get("max_num_results")
    if results is None:
        results = _RESULTS_OF_GPT_3_5 if model.startswith("gpt-3.5") else _RESULTS
    tool: dict[str, Any] = {"type": "file_search", "vector_store_ids": stores, "max_num_results": results}
    ranking = options.get("ranking_options")
    if ranking is not None:  # the ranker of old has no counterpart: the server chooses
        tool["ranking_options"] = {"ranker": "auto", "score_threshold": ranking["score_threshold"]}
    return tool


def _both(assistant_body: Mapping[str, Any], thread_body: Mapping[str, Any], tool: str, name: str) -> list[str]:
    ids = [*_resource_ids(assistant_body, tool, name), *_resource_ids(thread_body, tool, name)]
    return list(dict.fromkeys(ids))


def _resource_ids(body: Mapping[str, Any], tool: str, name: str) -> Sequence[str]:
    resources = body.get("tool_resources")
    resource = resources.get(tool) if resources else None
    return (resource.get(name) or ()) if resource else ()


def _format(value: Any) -> dict[str, Any] | None:
    if value is None or value == "auto":
        return None
    if value["type"] != "json_schema":
        return {"type": value["type"]}
    schema = {name: part for name, part in value["json_schema"].items() if part is not None}
    schema.setdefault("schema", {})
    return {"type": "json_schema", **schema}


def _tool_choice(value: Any, tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    if value is None or value == "auto":
        return None
    if isinstance(value, str):
        return value
    kind = value["type"]
    if kind == "function":
        return {"type": "function", "name": value["function"]["name"]}
    return {"type": kind} if any(tool["type"] == kind for tool in tools) else None


def _unless_default(value: float | None, default: float) -> float | None:
    return None if value == default else value


def _said(part: Mapping[str, Any]) -> str:
    return str(part["text"]["value"] if part["type"] == "text" else part["refusal"])


def _input_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]["value"]}
    if part["type"] == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail") or "auto"}
    image = part["image_file"]
    return {"type": "input_image", "file_id": image["file_id"], "detail": image.get("detail") or "auto"}


def _place(value: Any, text: str) -> int:
    return min(max(value, 0), len(text)) if isinstance(value, int) else len(text)


def _annotation(kind: str, file_id: str, text: str, start: int, end: int) -> dict[str, Any]:
    return {"type": kind, "text": text, "start_index": start, "end_index": end, kind: {"file_id": file_id}}
