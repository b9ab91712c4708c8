"""`/chat/completions` and `/completions`: read as a request for a response, made as one, and told in their own form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from assistantguard._parameters import array, boolean, enumeration, integer, mapping, metadata, number
from assistantguard._parameters import string as text
from assistantguard._refusals import ApiProblem, invalid, wrong_type
from assistantguard.sandbox.validation import check_body, obj

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistantguard._parameters import Check

__all__ = ["ChatForm", "check_chat", "check_completion"]


def _anything(value: Any, param: str) -> Any:  # noqa: ARG001 - a check that accepts all
    return value


_COMMON: dict[str, Check] = {
    "model": text(minimum=1),
    "max_tokens": integer(minimum=1),
    "n": integer(minimum=1, maximum=128),
    "stream": boolean,
    "stream_options": obj({"include_usage": boolean, "include_obfuscation": boolean}),
    "temperature": number(minimum=0, maximum=2),
    "top_p": number(minimum=0, maximum=1),
    "presence_penalty": number(minimum=-2, maximum=2),
    "frequency_penalty": number(minimum=-2, maximum=2),
    "logit_bias": mapping,
    "seed": integer(),
    "stop": _anything,
    "user": text(),
}
_CHAT: dict[str, Check] = {
    **_COMMON,
    "messages": array(mapping),
    "max_completion_tokens": integer(minimum=1),
    "tools": array(mapping, of="tools", maximum=128),
    "tool_choice": _anything,
    "parallel_tool_calls": boolean,
    "response_format": mapping,
    "reasoning_effort": enumeration("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "verbosity": enumeration("low", "medium", "high"),
    "logprobs": boolean,
    "top_logprobs": integer(minimum=0, maximum=20),
    "metadata": metadata,
    "safety_identifier": text(maximum=64),
    "prompt_cache_key": text(),
    "service_tier": enumeration("auto", "default", "flex", "scale", "priority", "fast"),
    "store": boolean,
}
_COMPLETION: dict[str, Check] = {
    **_COMMON,
    "prompt": _anything,
    "best_of": integer(minimum=1, maximum=20),
    "echo": boolean,
    "logprobs": integer(minimum=0, maximum=5),
    "suffix": text(),
}
_DEFAULT_COMPLETION = 16
_PARTS = {"text": "input_text", "image_url": "input_image", "file": "input_file", "input_audio": "input_audio"}
_FINISHED = {"content_filter": "content_filter", "max_output_tokens": "length"}


def check_chat(body: Any) -> tuple[dict[str, Any], ChatForm]:
    """Check the body of `POST /chat/completions`; return the response that is asked for, and how it is told.

    Raises:
        ApiProblem: 400, naming the parameter.
    """
    checked = check_body(body, _CHAT, required=("messages", "model"), not_nullable=("model", "messages"))
    _check_common(checked)
    if "max_tokens" in checked and "max_completion_tokens" in checked:
        raise invalid(
            "max_tokens",
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "invalid_parameter_combination",
        )
    wanted: dict[str, Any] = {
        "model": checked["model"],
        "input": [item for message in checked["messages"] for item in _items(message)],
        "tools": [_flat(tool) for tool in checked.get("tools", ())],
        "store": False,
    }
    choice = checked.get("tool_choice")
    if choice is not None:
        wanted["tool_choice"] = _flat(choice) if isinstance(choice, dict) else choice
    for name in ("parallel_tool_calls", "service_tier", "stream"):
        if name in checked:
            wanted[name] = checked[name]
    most = checked.get("max_completion_tokens", checked.get("max_tokens"))
    if most is not None:
        wanted["max_output_tokens"] = most
    return wanted, ChatForm("chatcmpl", "chat.completion", _asks_usage(checked))


def check_completion(body: Any) -> tuple[dict[str, Any], ChatForm]:
    """Check the body of `POST /completions`; as `check_chat`.

    Raises:
        ApiProblem: 400, naming the parameter.
    """
    checked = check_body(body, _COMPLETION, required=("model", "prompt"), not_nullable=("model", "prompt"))
    _check_common(checked)
    prompt = checked["prompt"]
    if not isinstance(prompt, str):
        raise ApiProblem(400, "Sandbox: only a prompt that is one text is served.", param="prompt")
    wanted = {
        "model": checked["model"],
        "input": prompt,
        "store": False,
        "stream": checked.get("stream", False),
        "max_output_tokens": checked.get("max_tokens", _DEFAULT_COMPLETION),
    }
    return wanted, ChatForm("cmpl", "text_completion", _asks_usage(checked))


def _check_common(checked: Mapping[str, Any]) -> None:
    if "stream_options" in checked and not checked.get("stream"):
        raise invalid("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled.")
    if checked.get("n", 1) != 1 or checked.get("best_of", 1) != 1:
        raise ApiProblem(400, "Sandbox: only one answer for each request is served.", param="n")


def _asks_usage(checked: Mapping[str, Any]) -> bool:
    return bool(checked.get("stream_options", {}).get("include_usage"))


def _items(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    role, content = message.get("role", ""), message.get("content")
    if role == "tool":
        output = content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
        yield {"type": "function_call_output", "call_id": message.get("tool_call_id", ""), "output": output}
        return
    if content is not None or role != "assistant":
        yield {"role": role, "content": _content(content, assistant=role == "assistant")}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        yield {
            "type": "function_call",
            "call_id": call.get("id", ""),
            "name": function.get("name", ""),
            "arguments": function.get("arguments", ""),
        }


def _content(content: Any, *, assistant: bool) -> Any:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise wrong_type("messages.content", "one of a string or array of content parts", content)
    parts: list[dict[str, Any]] = []
    for part in content:
        kind = part.get("type")
        if kind == "text":
            parts.append({"type": "output_text" if assistant else "input_text", "text": part.get("text", "")})
        elif kind == "image_url":
            parts.append({"type": "input_image", "image_url": part.get("image_url", {}).get("url")})
        else:
            parts.append({"type": _PARTS.get(kind, kind)})
    return parts


def _flat(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": tool.get("type"), **(tool.get("function") or {})}


class ChatForm:
    """Tells a response as a chat completion, or as a completion.

    Args:
        prefix: What ids begin with.
        kind: ``chat.completion``, or ``text_completion``.
        with_usage: Whether a stream ends with the usage.
    """

    def __init__(self, prefix: str, kind: str, with_usage: bool) -> None:
        self._prefix = prefix
        self._kind = kind
        self._with_usage = with_usage
        self._response: dict[str, Any] = {}
        self._calls: dict[int, int] = {}
        """Numbers of the tool calls, by the numbers of their items."""

    def document(self, response: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer.

        Raises:
            ApiProblem: 500: the response failed.
        """
        if response["status"] == "failed":
            raise ApiProblem(500, response["error"]["message"], kind="server_error", code=response["error"]["code"])
        said = "".join(_said(item) for item in response["output"])
        calls = [_call(item) for item in response["output"] if item["type"] == "function_call"]
        if self._kind == "text_completion":
            choice: dict[str, Any] = {"text": said}
        else:
            message = {"role": "assistant", "content": said if said or not calls else None, "refusal": None}
            choice = {"message": {**message, **({"tool_calls": calls} if calls else {})}}
        finished = {"index": 0, **choice, "logprobs": None, "finish_reason": _finish(response)}
        whole = {**self._frame(response, self._kind), "choices": [finished]}
        return whole if response["usage"] is None else {**whole, "usage": _usage(response["usage"])}

    def encoded(self, event: dict[str, Any] | None) -> bytes:
        """What a stream sends for an event of a response; empty where that is nothing."""
        if event is None:
            return b": keep-alive\n\n"
        return b"".join(
            f"data: {json.dumps(data, separators=(',', ':'))}\n\n".encode() for data in self._data(event)
        ) + (b"data: [DONE]\n\n" if event["type"] in {"response.completed", "response.incomplete"} else b"")

    def _data(self, event: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kind = event["type"]
        if kind == "response.created":
            self._response = event["response"]
            if self._kind != "text_completion":
                yield self._chunk({"role": "assistant", "content": "", "refusal": None})
        elif kind == "response.output_text.delta":
            yield self._chunk({"content": event["delta"]})
        elif kind == "response.output_item.added" and event["item"]["type"] == "function_call":
            number = self._calls.setdefault(event["output_index"], len(self._calls))
            yield self._chunk({"tool_calls": [{"index": number, **_call({**event["item"], "arguments": ""})}]})
        elif kind == "response.function_call_arguments.delta":
            number = self._calls[event["output_index"]]
            yield self._chunk({"tool_calls": [{"index": number, "function": {"arguments": event["delta"]}}]})
        elif kind in {"response.completed", "response.incomplete"}:
            response = event["response"]
            yield self._chunk({}, _finish(response))
            if self._with_usage and response["usage"] is not None:
                yield {**self._frame(response, self._chunk_kind), "choices": [], "usage": _usage(response["usage"])}
        elif kind == "response.failed":
            yield {"error": {**event["response"]["error"], "type": "server_error", "param": None}}
        elif kind == "error":
            error = event.get("error") or {name: event.get(name) for name in ("code", "message", "param")}
            yield {"error": {"type": "server_error", **error}}

    @property
    def _chunk_kind(self) -> str:
        return self._kind if self._kind == "text_completion" else f"{self._kind}.chunk"

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        said = {"text": delta.get("content", "")} if self._kind == "text_completion" else {"delta": delta}
        choice = {"index": 0, **said, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._frame(self._response, self._chunk_kind), "choices": [choice]}
        return {**chunk, "usage": None} if self._with_usage else chunk

    def _frame(self, response: Mapping[str, Any], kind: str) -> dict[str, Any]:
        return {
            "id": f"{self._prefix}-{response['id'].removeprefix('resp_')}",
            "object": kind,
            "created": response["created_at"],
            "model": response["model"],
            "service_tier": response["service_tier"],
            "system_fingerprint": None,
        }


def _said(item: Mapping[str, Any]) -> str:
    return "".join(part["text"] for part in item["content"]) if item["type"] == "message" else ""


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": item["call_id"],
        "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    }


def _finish(response: Mapping[str, Any]) -> str:
    if response["status"] == "incomplete":
        return _FINISHED.get(response["incomplete_details"]["reason"], "stop")
    return "tool_calls" if any(item["type"] == "function_call" for item in response["output"]) else "stop"


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "total_tokens": usage["total_tokens"],
        "prompt_tokens_details": usage["input_tokens_details"],
        "completion_tokens_details": usage["output_tokens_details"],
    }
