"""One line of a file of conversations in OpenAI chat format, checked."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

__all__ = [
    "BadConversationError",
    "ChatFunction",
    "ChatMessage",
    "ChatRecord",
    "ChatToolCall",
    "ContentPart",
    "parse_chat",
]

_IGNORE = ConfigDict(extra="ignore", frozen=True)


class BadConversationError(ValueError):
    """A line that cannot be played; the text says why."""


class ContentPart(BaseModel):
    """A part of a message's content."""

    model_config = _IGNORE

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class ChatFunction(BaseModel):
    """What a tool call asks for."""

    model_config = _IGNORE

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    arguments: str = "{}"

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class ChatToolCall(BaseModel):
    """One tool call of an assistant message."""

    model_config = _IGNORE

    id: Annotated[str, Field(min_length=1)]
    function: ChatFunction


class ChatMessage(BaseModel):
    """One message."""

    model_config = _IGNORE

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    refusal: str | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: str | None = None
    function_call: None = None
    """The form before tool calls; not played."""

    @property
    def text(self) -> str:
        """All that the message says. A part that is no text stands as its type in brackets."""
        if isinstance(self.content, list):
            parts = [
                part.text or part.refusal or ("" if part.type == "text" else f"[{part.type}]") for part in self.content
            ]
            return "\n".join(part for part in parts if part)
        return self.content or self.refusal or ""

    @property
    def has_other_parts(self) -> bool:
        """Whether it holds images, sound or files."""
        return isinstance(self.content, list) and any(
            part.text is None and part.refusal is None for part in self.content
        )


class ChatRecord(BaseModel):
    """A conversation."""

    model_config = _IGNORE

    id: str | int | None = None
    model: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)]


def parse_chat(line: bytes) -> ChatRecord:
    """Read one line: an object with ``messages``, or a bare list of messages.

    Raises:
        BadConversationError: It is neither, or a message is not as the chat format has it.
    """
    try:
        value = pydantic_core.from_json(line)
    except ValueError as error:
        raise BadConversationError(f"not JSON: {error}") from None
    if isinstance(value, list):
        value = {"messages": value}
    if not isinstance(value, dict):
        raise BadConversationError("neither an object with messages nor a list of messages")
    try:
        record = ChatRecord.model_validate(value)
    except ValidationError as error:
        raise BadConversationError(_first_problem(error)) from None
    for number, message in enumerate(record.messages, start=1):
        if message.role == "tool" and message.tool_call_id is None:
            raise BadConversationError(f"message {number} is a tool output without tool_call_id")
    return record


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    match first["loc"]:
        case ("messages", int(index), *_, "function_call"):
            return f"message {index + 1} uses function_call: write it as tool_calls"
        case ("messages", int(index), *rest):
            where = f"message {index + 1} " + ".".join(str(part) for part in rest)
        case loc:
            where = ".".join(str(part) for part in loc)
    shown = repr(first["input"])
    got = f", not {shown if len(shown) <= 60 else shown[:57] + '...'}" if first["type"] != "missing" else ""
    return f"{where.strip()}: {first['msg']}{got}"
