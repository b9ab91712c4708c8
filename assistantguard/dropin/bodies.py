"""What a request for an answer asks for, in each of the ways in which it can be asked: its size, bounds and payer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from assistantguard import tokens
from assistantguard.engine.admission import FILE_SEARCH_TOOL, framing
from assistantguard.engine.ports import ModelRequest
from assistantguard.models.assistant import MIN_OUTPUT_TOKENS
from assistantguard.tokens import Estimate

__all__ = ["CallRequest", "Dialect", "bounded", "dialect_of", "last_text", "request_of", "user_of", "with_usage"]

Dialect = Literal["chat", "compact", "completions", "responses"]

_ENDS: tuple[tuple[str, Dialect], ...] = (
    ("/chat/completions", "chat"),
    ("/completions", "completions"),
    ("/responses", "responses"),
    ("/responses/compact", "compact"),
)
_LIMITS: Mapping[Dialect, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "compact": (),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
"""The parameters that bound the output; the first is set where the request has none."""
_SERVERS_OWN_LIMIT = 16
"""Tokens that ``/completions`` writes where the request does not say."""
_PICTURE = Estimate(1_000, 50_000, exact=False)
_WINDOW = Estimate(1_000, 1_100_000, exact=False)
"""What cannot be seen here, such as a conversation or a document: at most what fits the largest context window."""
_MOST = 1e9
_PICTURES = frozenset({"computer_screenshot", "image_url", "input_image"})
_SEALED = frozenset({"file", "input_audio", "input_file", "input_video", "item_reference"})
_SILENT = frozenset({"id", "role", "status", "type"})
"""Fields of an item that say nothing beyond what its frame costs."""


@dataclass(slots=True, eq=False, repr=False)
class CallRequest(ModelRequest):
    """A request that the application makes itself."""

    dialect: Dialect = "responses"
    body: Mapping[str, Any] = field(default_factory=dict)
    """As it was sent."""
    expected: Estimate = field(default_factory=lambda: Estimate(0, 0, exact=True))
    """Its input."""
    sealed: bool = False
    """Whether a part of the input cannot be counted here."""
    answers: int = 1
    """How many answers it asks for at once."""


def dialect_of(path: str) -> Dialect | None:
    """How a POST to this path asks for an answer; None where it does not."""
    trimmed = path.rstrip("/")
    return next((dialect for end, dialect in _ENDS if trimmed.endswith(end)), None)


def request_of(dialect: Dialect, path: str, body: Mapping[str, Any], contexts: Mapping[str, Estimate]) -> CallRequest:
    """Read the body of a request.

    Args:
        dialect: How it asks.
        path: Where it is sent; below an Azure deployment, the path names the model where the body does not.
        body: Its JSON document.
        contexts: What goes on with each of the responses that are known, by id.
    """
    named = body.get("model")
    model = named if isinstance(named, str) and named.strip() else _deployment(path)
    measure = _Measure(model, contexts)
    measure.take(dialect, body)
    answers = _answers(dialect, body)
    given = [_number(body.get(name)) for name in _LIMITS[dialect]]
    asked = min((limit for limit in given if limit is not None), default=None)
    if asked is None and dialect == "completions":
        asked = _SERVERS_OWN_LIMIT
    tools = body.get("tools")
    return CallRequest(
        model,
        None,
        "",
        [],
        "" if dialect == "responses" else None,
        [tool for tool in tools if isinstance(tool, dict)]
        if dialect == "responses" and isinstance(tools, list)
        else (),
        max_output_tokens=None if asked is None else max(MIN_OUTPUT_TOKENS, asked * answers),
        background=body.get("background") is True,
        dialect=dialect,
        body=body,
        expected=measure.whole,
        sealed=measure.sealed,
        answers=answers,
    )


def bounded(request: CallRequest) -> dict[str, Any] | None:
    """The body with its output bounded as `request` says; None where that leaves an answer nothing to say.

    A parameter that the body has is lowered, never raised.
    """
    body, most = dict(request.body), request.max_output_tokens
    if request.max_tool_calls is not None:
        given = _number(body.get("max_tool_calls"))
        body["max_tool_calls"] = request.max_tool_calls if given is None else min(given, request.max_tool_calls)
    names = _LIMITS[request.dialect]
    if most is None or not names:
        return body
    each = most // request.answers
    if each < 1:
        return None
    present = [name for name in names if body.get(name) is not None] or names[:1]
    for name in present:
        limit = _number(body.get(name))
        body[name] = each if limit is None else min(limit, each)
    return body


def with_usage(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of a streamed chat, asking for the usage at the end; None where it does so, or is not streamed."""
    options = body.get("stream_options")
    options = options if isinstance(options, Mapping) else {}
    if body.get("stream") is not True or options.get("include_usage") is True:
        return None
    return {**body, "stream_options": {**options, "include_usage": True}}


def user_of(body: Mapping[str, Any], in_metadata: Callable[[Mapping[str, str]], str | None]) -> str | None:
    """Whose budget a request counts on: as its metadata say, else its ``safety_identifier``, else its ``user``."""
    metadata = body.get("metadata")
    found = in_metadata(metadata if isinstance(metadata, dict) else {})
    if found is not None:
        return found
    named = (body.get(name) for name in ("safety_identifier", "user"))
    return next((name for name in named if isinstance(name, str) and name), None)


def last_text(body: Mapping[str, Any]) -> str:
    """The text of the newest message of a request."""
    given = next((body[name] for name in ("input", "messages", "prompt") if body.get(name) is not None), "")
    if isinstance(given, list):
        given = given[-1] if given else ""
    if isinstance(given, dict):
        given = given.get("content", "")
    return "".join(_texts(given))


def _deployment(path: str) -> str:
    _, _, behind = path.partition("/deployments/")
    return behind.partition("/")[0] or "unknown"


def _answers(dialect: Dialect, body: Mapping[str, Any]) -> int:
    """How many answers a request asks for at once; each may be as long as its bound says."""
    if dialect not in {"chat", "completions"}:
        return 1
    each = max(1, _number(body.get("n")) or 1)
    if dialect == "chat":
        return each
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
    prompts = len(prompt) if isinstance(prompt, list) and several else 1
    return max(each, _number(body.get("best_of")) or 1) * prompts


class _Measure:
    """Estimates what a request reads."""

    def __init__(self, model: str, contexts: Mapping[str, Estimate]) -> None:
        self.estimate = framing(1)
        self.sealed = False
        self._model = model
        self._contexts = contexts

    @property
    def whole(self) -> Estimate:
        """All of it. What is sealed is together no more than a context window."""
        if not self.sealed:
            return self.estimate
        return Estimate(
            min(self.estimate.tokens, _WINDOW.at_most), min(self.estimate.at_most, _WINDOW.at_most), exact=False
        )

    def take(self, dialect: Dialect, body: Mapping[str, Any]) -> None:
        """Add all that a body puts before the model."""
        if dialect == "chat":
            self._items(body.get("messages"))
            self._read(body.get("prediction"))
            self._schemas([*_list(body.get("tools")), *_list(body.get("functions"))], body.get("response_format"))
            if body.get("web_search_options") is not None:
                self.estimate += FILE_SEARCH_TOOL
            return
        if dialect == "completions":
            self._prompt(body.get("prompt"))
            self._read(body.get("suffix"))
            return
        self._items(body.get("input"))
        self._items(body.get("instructions"))
        self._schemas(_list(body.get("tools")), body.get("text"))
        for name in ("conversation", "prompt"):
            if body.get(name) is not None:
                self._seal(_WINDOW)
        previous = body.get("previous_response_id")
        if previous is None:
            return
        known = self._contexts.get(previous) if isinstance(previous, str) else None
        if known is None:
            self._seal(_WINDOW)
        else:
            self.estimate += known

    def _items(self, given: Any) -> None:
        for item in given if isinstance(given, list) else [] if given is None else [given]:
            self.estimate += framing(1)
            self._read(item)

    def _prompt(self, prompt: Any) -> None:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
            self.estimate += Estimate(len(prompt), len(prompt), exact=True)
            return
        for each in prompt if isinstance(prompt, list) else [prompt]:
            self.estimate += framing(1)
            if isinstance(each, list):
                self._prompt(each)
            else:
                self._read(each)

    def _read(self, value: Any) -> None:
        if isinstance(value, str):
            self.estimate += tokens.estimate(value, self._model)
        elif isinstance(value, list):
            for each in value:
                self._read(each)
        elif isinstance(value, dict):
            kind = value.get("type")
            if kind in _PICTURES:
                self._seal(_PICTURE)
            elif kind in _SEALED:
                self._seal(_WINDOW)
            else:
                for name, each in value.items():
                    if name not in _SILENT:
                        self._read(each)

    def _schemas(self, tools: list[Any], form: Any) -> None:
        for tool in tools:
            self.estimate += tokens.estimate(_json(tool), self._model) + framing(1)
            if isinstance(tool, dict) and tool.get("type") not in {"custom", "function"}:
                self.estimate += FILE_SEARCH_TOOL
        if form is not None:
            self.estimate += tokens.estimate(_json(form), self._model) + framing(1)

    def _seal(self, estimate: Estimate) -> None:
        self.estimate += estimate
        self.sealed = True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part.get("text", "") if isinstance(part, dict) else part)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> int | None:
    return (
        int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _MOST else None
    )
