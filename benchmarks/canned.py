"""A server in the process: the installed SDK's own HTTP library, answers made beforehand, no work to speak of."""

from __future__ import annotations

import importlib
import json
from typing import Any

import openai

__all__ = ["TEXT", "TOOL_MARK", "CannedServer", "http_library", "message", "response", "tool_call"]

TOOL_MARK = "[tool]"
"""A user message with this mark is answered with a tool call first."""

TEXT = (
    "Order W2378156 was handed to the carrier on Monday and is due on Thursday between nine and twelve. It holds two"
    " kettles at 39.90 and a grinder at 64.50, together 144.30, paid by card."
)
"""What a model answers."""


class CannedServer:
    """Answers conversations and responses. A message with `TOOL_MARK` gets a tool call, and its output a text."""

    def __init__(self) -> None:
        self._http = http_library()
        self._text = json.dumps(response(message(TEXT))).encode()
        self._call = json.dumps(response(tool_call("call_1"))).encode()
        self._conversation = json.dumps(
            {"id": "conv_1", "object": "conversation", "created_at": 1_790_000_000, "metadata": {}}
        ).encode()
        self.requests = 0
        self.bodies: list[dict[str, Any]] | None = None
        """The bodies of model calls, where a list is put here."""

    def client(self) -> openai.OpenAI:
        """A blocking client of this server."""
        transport = self._http.MockTransport(self._answer)
        return openai.OpenAI(api_key="sk-canned", max_retries=0, http_client=self._http.Client(transport=transport))

    def async_client(self) -> openai.AsyncOpenAI:
        """An async client of this server."""
        transport = self._http.MockTransport(self._answer)
        return openai.AsyncOpenAI(
            api_key="sk-canned", max_retries=0, http_client=self._http.AsyncClient(transport=transport)
        )

    def _answer(self, request: Any) -> Any:
        self.requests += 1
        if request.url.path.endswith("/conversations"):
            content = self._conversation
        else:
            body = request.content
            if self.bodies is not None:
                self.bodies.append(json.loads(body))
            asks_tool = TOOL_MARK.encode() in body and b"function_call_output" not in body
            content = self._call if asks_tool else self._text
        return self._http.Response(200, content=content, headers={"content-type": "application/json"})


def http_library() -> Any:
    """Whichever of httpx and httpx2 the installed SDK is built on."""
    bases = openai.DefaultHttpxClient.__mro__
    return importlib.import_module(
        next(base.__module__ for base in bases if base.__module__.startswith("httpx")).partition(".")[0]
    )


def message(text: str) -> dict[str, Any]:
    """An output item that says something."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}


def tool_call(call_id: str) -> dict[str, Any]:
    """An output item that asks for a tool."""
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": call_id,
        "name": "look_up_order",
        "arguments": '{"order_id": "W2378156"}',
    }


def response(item: dict[str, Any], response_id: str = "resp_1", conversation_id: str = "conv_1") -> dict[str, Any]:
    """A completed response with one output item."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "conversation": {"id": conversation_id},
        "metadata": {},
        "model": "gpt-6-luna",
        "output": [{**item, "status": "completed"}],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 1_800,
            "input_tokens_details": {"cached_tokens": 1_536, "cache_write_tokens": 0},
            "output_tokens": 60,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 1_860,
        },
    }
