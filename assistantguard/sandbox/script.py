"""Scripted models: what the sandbox's model answers.

A model is a list of answers, a function of the request, or nothing (a short, deterministic echo).

A list is consumed in the order in which requests reach the model, over all conversations; `Script` with
``per_conversation=True`` plays it from the start in each conversation. A request that is refused, or that a fault
answers, consumes nothing.

A model cannot call tools when the request has none, or has ``tool_choice="none"``: scripted tool calls are then
skipped up to the next answer with text, and where there is none a sentence says so. The calls of a function's answer
are left out; where it says nothing else, the same sentence stands for them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.conduct import Conduct

__all__ = [
    "Answer",
    "FileSearch",
    "FunctionCall",
    "Model",
    "ModelRequest",
    "Script",
    "Scripted",
    "ToolCalls",
    "as_answer",
    "echo",
    "replay",
]

_STATUSES = ("completed", "failed", "incomplete", "cancelled")


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A call of a function tool."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    """A mapping, sent as JSON, or the text to send as it is (also text that is not JSON)."""
    call_id: str | None = None
    """The call's id; None makes one."""

    @property
    def arguments_json(self) -> str:
        """The arguments as the text that is sent."""
        if isinstance(self.arguments, str):
            return self.arguments
        return json.dumps(dict(self.arguments), ensure_ascii=False)


@dataclass(frozen=True, slots=True, init=False)
class ToolCalls:
    """One model answer that asks for several function calls: one step."""

    calls: tuple[FunctionCall, ...]

    def __init__(self, *calls: FunctionCall) -> None:
        if not calls:
            raise ConfigurationError("ToolCalls() holds no call; give at least one FunctionCall")
        object.__setattr__(self, "calls", calls)


@dataclass(frozen=True, slots=True)
class FileSearch:
    """A file search that the model makes with the built-in tool before it answers."""

    query: str
    results: Sequence[str] | None = None
    """Texts found; None searches the request's vector stores by words. They are billed as input of the same response,
    as the API does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the model, in full."""

    text: str | None = None
    tool_calls: Sequence[FunctionCall] = ()
    reasoning_tokens: int = 0
    """Billed as output. Above zero, a reasoning item stands before the answer."""
    file_search: Sequence[FileSearch] = ()
    """Ignored beyond `max_tool_calls`, and where the request has no file search tool."""
    status: Literal["completed", "failed", "incomplete", "cancelled"] = "completed"
    error_code: str = "server_error"
    """Code of ``response.error`` when failed."""
    error_message: str = "The model failed to generate a response. (sandbox)"
    incomplete_reason: str = "max_output_tokens"
    delay: float = 0.0
    """Seconds before the first delta, or before the whole answer. The conversation is locked meanwhile."""
    pace: float = 0.0
    """Seconds between two deltas. An answer that is not streamed takes as long."""
    billed: bool = True
    """Whether the response costs anything."""
    usage_reported: bool = True
    """Whether the response carries `usage`."""
    appended: bool | None = None
    """Whether input and output are added to the conversation. None: when completed or incomplete."""
    conduct: Conduct = field(default_factory=Conduct)
    """How its making goes, and what is left when it is stopped."""

    def __post_init__(self) -> None:
        if self.status not in _STATUSES:
            raise ConfigurationError(f"status={self.status!r} is not one of {', '.join(_STATUSES)}")
        if self.reasoning_tokens < 0:
            raise ConfigurationError(f"reasoning_tokens={self.reasoning_tokens} is below 0")
        if self.delay < 0:
            raise ConfigurationError(f"delay={self.delay} is below 0 seconds")
        if self.pace < 0:
            raise ConfigurationError(f"pace={self.pace} is below 0 seconds")


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """All that the model sees."""

    model: str
    instructions: str | None
    tools: Sequence[Mapping[str, Any]]
    items: Sequence[Mapping[str, Any]]
    """The whole context in order: the items of the conversation or the response chain, then the input."""
    conversation: str | None
    """The conversation's id."""
    tool_choice: Any
    max_output_tokens: int | None
    input_tokens: int
    """What is billed as input."""
    body: Mapping[str, Any]
    """The request's JSON document."""

    @property
    def may_call_tools(self) -> bool:
        """Whether the request lets the model call tools."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def last_user_text(self) -> str:
        """The text of the last user message; empty where there is none."""
        for item in reversed(self.items):
            if item.get("type") == "message" and item.get("role") == "user":
                return _text_of(item)
        return ""

    @property
    def text(self) -> str:
        """Everything the model can read, as one text: instructions, messages, calls and outputs."""
        parts = [self.instructions or ""]
        for item in self.items:
            kind = item.get("type")
            if kind == "message":
                parts.append(_text_of(item))
            elif kind == "function_call":
                parts.append(f"{item['name']} {item['arguments']}")
            elif kind == "function_call_output":
                output = item["output"]
                parts.append(output if isinstance(output, str) else json.dumps(output, ensure_ascii=False))
        return "\n".join(parts)


def _text_of(item: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in item["content"] if "text" in part)


Scripted: TypeAlias = str | FunctionCall | ToolCalls | Answer
"""What a script may hold: a text, one call, one step of several calls, or an answer in full."""

Model: TypeAlias = Callable[[ModelRequest], Scripted | Awaitable[Scripted]]


def as_answer(scripted: object) -> Answer:
    """Return the answer in full.

    Raises:
        ConfigurationError: It is none of the kinds a script may hold.
    """
    if isinstance(scripted, str):
        return Answer(text=scripted)
    if isinstance(scripted, FunctionCall):
        return Answer(tool_calls=(scripted,))
    if isinstance(scripted, ToolCalls):
        return Answer(tool_calls=scripted.calls)
    if isinstance(scripted, Answer):
        return scripted
    raise ConfigurationError(
        f"a scripted answer is a {type(scripted).__name__} ({scripted!r:.80}); "
        "give a str, a FunctionCall, ToolCalls or an Answer"
    )


class Script:
    """A list of answers, consumed in order.

    Args:
        answers: What the model says, one entry for each request that reaches it.
        per_conversation: Play the list from its start in each conversation. False consumes one list over all.

    Raises:
        ConfigurationError: An entry is of no known kind.
    """

    def __init__(self, answers: Sequence[Scripted], *, per_conversation: bool = False) -> None:
        self._answers = [as_answer(answer) for answer in answers]
        self._per_conversation = per_conversation
        self._positions: dict[str | None, int] = {}

    @property
    def unconsumed(self) -> int:
        """Answers that no request has asked for yet; of the furthest conversation when played per conversation."""
        return len(self._answers) - max(self._positions.values(), default=0)

    def next(self, conversation: str | None, *, may_call_tools: bool) -> Answer | None:
        """Consume and return the next answer; None when the script is used up.

        Args:
            conversation: Id of the conversation that asks.
            may_call_tools: Whether its request lets the model call tools.
        """
        key = conversation if self._per_conversation else None
        position = self._positions.get(key, 0)
        skipped = False
        answer: Answer | None = None
        while position < len(self._answers):
            candidate = self._answers[position]
            position += 1
            if candidate.tool_calls and not may_call_tools:
                skipped = True
                if not candidate.text:
                    continue
            answer = candidate
            break
        self._positions[key] = position
        if answer is None and skipped:
            return Answer(text=NO_TOOLS_TEXT)
        return answer


NO_TOOLS_TEXT = "The script calls tools here, but this request allows none."


def echo(request: ModelRequest) -> Scripted:
    """Answer something short: the last tool output or the last user message, or a call where one is required."""
    if request.tool_choice == "required":
        functions = [tool["name"] for tool in request.tools if tool.get("type") == "function"]
        last = request.items[-1].get("type") if request.items else None
        if functions and last != "function_call_output":
            return FunctionCall(functions[0])
    if request.items and request.items[-1].get("type") == "function_call_output":
        return f"The tool said: {str(request.items[-1]['output'])[:200]}"
    return f"You said: {request.last_user_text[:200]}"


def replay(messages: Sequence[Mapping[str, Any]]) -> list[Answer]:
    """Make a script from a recorded conversation in OpenAI chat format.

    Each assistant message becomes one answer, in order; ids of tool calls are kept.

    Args:
        messages: ``{"role", "content", "tool_calls"}`` mappings. Other roles are passed over.

    Raises:
        ConfigurationError: An assistant message has neither text nor tool calls, or a call has no name.
    """
    answers: list[Answer] = []
    for number, message in enumerate(messages, start=1):
        if message.get("role") != "assistant":
            continue
        calls: list[FunctionCall] = []
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            if not function.get("name"):
                raise ConfigurationError(f"message {number}: a tool call has no function name: {call!r:.200}")
            calls.append(FunctionCall(function["name"], function.get("arguments") or "{}", call.get("id")))
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        if not calls and not isinstance(content, str):
            raise ConfigurationError(f"message {number}: the assistant says nothing and calls nothing")
        answers.append(Answer(text=content or (None if calls else ""), tool_calls=tuple(calls)))
    return answers
