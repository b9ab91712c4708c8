"""A server in the process: the installed SDK's own HTTP library, answers made beforehand, no work to speak of."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import openai

__all__ = [
    "DELTAS",
    "TEXT",
    "TOOL_MARK",
    "CannedServer",
    "chunked",
    "event_stream",
    "http_library",
    "message",
    "response",
    "tool_call",
]

TOOL_MARK = "[tool]"
"""A user message with this mark is answered with a tool call first."""

TEXT = (
    "Order W2378156 was handed to the carrier on Monday and is due on Thursday between nine and twelve. It holds two"
    " kettles at 39.90 and a grinder at 64.50, together 144.30, paid by card."
)
"""What a model answers."""

_SENTENCES = 12
DELTAS = re.findall(r"\s*\S{1,8}", " ".join([TEXT] * _SENTENCES))
"""What a model answers where the answer is streamed, in the pieces in which it comes: a token or two each."""

_STREAMED = re.compile(rb'"stream":\s*true')
"""httpx writes a space after the colon before its version 0.28."""


class CannedServer:
    """Answers conversations and responses. A message with `TOOL_MARK` gets a tool call, and its output a text.

    A streamed answer says `DELTAS`, one event a chunk.
    """

    def __init__(self) -> None:
        self._http = http_library()
        self._text = json.dumps(response(message(TEXT))).encode()
        self._call = json.dumps(response(tool_call("call_1"))).encode()
        self._conversation = json.dumps(
            {"id": "conv_1", "object": "conversation", "created_at": 1_790_000_000, "metadata": {}}
        ).encode()
        self._body = chunked(self._http, event_stream(DELTAS))
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
            if _STREAMED.search(body):
                return self._http.Response(200, stream=self._body(), headers={"content-type": "text/event-stream"})
            asks_tool = TOOL_MARK.encode() in body and b"function_call_output" not in body
            content = self._call if asks_tool else self._text
        return self._http.Response(200, content=content, headers={"content-type": "application/json"})


def http_library() -> Any:
    """Whichever of httpx and httpx2 the installed SDK is built on."""
    bases = openai.DefaultHttpxClient.__mro__
    return importlib.import_module(
        next(base.__module__ for base in bases if base.__module__.startswith("httpx")).partition(".")[0]
    )


def chunked(http: Any, chunks: Sequence[bytes]) -> Any:
    """A class of HTTP bodies that consist of these chunks, for both colours."""

    class Body(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]  # known only at run time
        def __iter__(self) -> Iterator[bytes]:
            return iter(chunks)

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

    return Body


def event_stream(deltas: Sequence[str], response_id: str = "resp_1") -> list[bytes]:
    """A streamed response that says a text in these pieces, as server-sent events."""
    whole = response(message("".join(deltas)), response_id)
    item = whole["output"][0]
    part = item["content"][0]
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    empty = {**part, "text": ""}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        ),
        ("response.content_part.added", {**place, "part": empty}),
        *(
            ("response.output_text.delta", {**place, "delta": delta, "logprobs": [], "obfuscation": "k3Rv7XbQ"})
            for delta in deltas
        ),
        ("response.output_text.done", {**place, "text": part["text"], "logprobs": []}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": whole}),
    ]
    return [
        f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': number, **fields})}\n\n".encode()
        for number, (kind, fields) in enumerate(events)
    ]


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
