"""Reading what a server answers to a call of the application, whole or piece by piece as its bytes go by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from openai._streaming import SSEDecoder

from assistantguard.backends.reading import answer_of, get
from assistantguard.backends.streaming import ENDS
from assistantguard.dropin.bodies import CallRequest
from assistantguard.engine.ports import ModelAnswer

__all__ = ["Events", "Reader", "read_document", "reader_for"]

_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(r"\r\n|\r|\n")
_REASONS = re.compile(r"(ft:)?(o\d|gpt-[5-9])")
"""Models that may write what they do not show."""
_REASONING = ("reasoning_content", "reasoning")
"""What servers that show a model's reasoning call it."""


class Events:
    """Cuts server-sent events out of the bytes of a stream, wherever their chunks end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, str]]:
        """The events that a chunk completes: each with its bytes, and its data."""
        self._rest += chunk
        start = 0
        for boundary in _BOUNDARY.finditer(self._rest):
            event = self._rest[start : boundary.end()]
            start = boundary.end()
            yield event, _data(event)
        self._rest = self._rest[start:]

    def finish(self) -> tuple[bytes, str]:
        """What is left at the end of the stream; its data are empty where there are none."""
        rest, self._rest = self._rest, b""
        return rest, _data(rest)


def _data(event: bytes) -> str:
    decoder = SSEDecoder()
    lines = _LINE_END.split(event.decode("utf-8", "replace"))
    found = [decoder.decode(line) for line in (*lines, "")]
    return next((event.data for event in found if event is not None), "")


class Reader(Protocol):
    """Follows the events of one answer."""

    response_id: str | None
    """Once it is told."""
    answer: ModelAnswer | None
    """Once there is all of it."""

    def take(self, data: str) -> tuple[str, bool]:
        """Take an event; return the output in it, and whether it carries nothing but the usage."""
        ...

    def finish(self) -> None:
        """The stream has ended."""
        ...


def reader_for(request: CallRequest) -> Reader:
    """What follows the answer to a request."""
    return _ResponseReader() if request.dialect in {"compact", "responses"} else _ChatReader(request)


def read_document(request: CallRequest, document: Any) -> ModelAnswer | None:
    """The answer that a JSON document holds; None where it holds none."""
    if not isinstance(document, dict):
        return None
    if request.dialect in {"compact", "responses"}:
        known = isinstance(document.get("output"), list) or document.get("status") is not None
        return answer_of(document) if known else None
    return answer_of(_as_response(request, document)) if isinstance(document.get("choices"), list) else None


class _ResponseReader:
    """Of ``/responses``."""

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.answer: ModelAnswer | None = None

    def take(self, data: str) -> tuple[str, bool]:
        event = _object(data)
        kind = event.get("type")
        if isinstance(kind, str) and kind.endswith(".delta"):
            delta = event.get("delta")
            return delta if isinstance(delta, str) else "", False
        response = event.get("response")
        if response is not None:
            self.response_id = get(response, "id") or self.response_id
            if kind in ENDS:
                self.answer = answer_of(response)
        return "", False

    def finish(self) -> None:
        """An answer that was not ended by its own event is not known."""


class _ChatReader:
    """Of ``/chat/completions`` and ``/completions``."""

    def __init__(self, request: CallRequest) -> None:
        self.response_id: str | None = None
        self.answer: ModelAnswer | None = None
        self._request = request
        self._texts: list[str] = []
        self._ended: set[int] = set()
        self._last: dict[str, Any] = {}

    def take(self, data: str) -> tuple[str, bool]:
        if data.startswith("[DONE]"):
            self._conclude()
            return "", False
        chunk = _object(data)
        if not chunk:
            return "", False
        self.response_id = chunk.get("id") or self.response_id
        choices = [choice for choice in chunk.get("choices") or () if isinstance(choice, dict)]
        text = "".join(_piece(choice) for choice in choices)
        self._texts.append(text)
        self._ended.update(_index(choice) for choice in choices if choice.get("finish_reason") is not None)
        self._last.update({name: value for name, value in chunk.items() if value is not None})
        only_usage = not choices and isinstance(chunk.get("usage"), dict)
        if only_usage:
            self._conclude()
        return text, only_usage

    def finish(self) -> None:
        if len(self._ended) >= self._request.answers:
            self._conclude()

    def _conclude(self) -> None:
        if self.answer is None:
            whole = [{"message": {"content": "".join(self._texts)}}]
            self.answer = answer_of(_as_response(self._request, {**self._last, "choices": whole}))


def _as_response(request: CallRequest, completion: Mapping[str, Any]) -> dict[str, Any]:
    """A chat completion, or a completion, in the form of a response."""
    output: list[dict[str, Any]] = []
    for choice in completion.get("choices") or ():
        text = "" if not isinstance(choice, dict) else _piece(choice)
        output.append({"type": "message", "role": "assistant", "content": text})
    if _REASONS.match(request.model.lower()):
        output.append({"type": "reasoning"})
    usage = completion.get("usage")
    prompt, written = get(usage, "prompt_tokens_details"), get(usage, "completion_tokens_details")
    return {
        "id": completion.get("id"),
        "status": "completed",
        "model": completion.get("model"),
        "service_tier": completion.get("service_tier"),
        "output": output,
        "usage": {
            "input_tokens": get(usage, "prompt_tokens"),
            "output_tokens": get(usage, "completion_tokens"),
            "input_tokens_details": prompt,
            "output_tokens_details": written,
        },
    }


def _piece(choice: Mapping[str, Any]) -> str:
    """All that a choice, or a piece of one, says."""
    said = choice.get("delta") or choice.get("message")
    if not isinstance(said, dict):
        text = choice.get("text")
        return text if isinstance(text, str) else ""
    texts = [said.get(name) for name in ("content", "refusal", *_REASONING)]
    calls = [get(call, "function") or get(call, "custom") for call in said.get("tool_calls") or ()]
    for call in (*calls, said.get("function_call")):
        texts += [get(call, "name"), get(call, "arguments"), get(call, "input")]
    return "".join(text for text in texts if isinstance(text, str))


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _object(data: str) -> dict[str, Any]:
    try:
        found = json.loads(data) if data else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
