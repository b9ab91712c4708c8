"""What a streamed turn tells as it happens."""

from __future__ import annotations

from dataclasses import dataclass

from assistantguard.models.reply import Reply
from assistantguard.models.tools import ToolCall, ToolOutput
from assistantguard.models.values import Record

__all__ = ["AttemptFailed", "ReplyReady", "StreamEvent", "TextDelta", "ToolCallRequested", "ToolCallSettled"]


@dataclass(slots=True, eq=False, repr=False)
class StreamEvent(Record):
    """Base of all that a stream yields. Read them, never change them.

    They are not frozen, since a frozen data class takes twice as long to make, and a stream makes one per delta.
    """


@dataclass(slots=True, eq=False, repr=False)
class TextDelta(StreamEvent):
    """A piece of the model's text."""

    text: str
    step: int
    """How many steps of tool calls came before it in this run, one that was refused among them.

    Texts of different steps are different messages.
    """


@dataclass(slots=True, eq=False, repr=False)
class ToolCallRequested(StreamEvent):
    """The model asked for a tool, the policies let it pass, and it is about to run."""

    call: ToolCall


@dataclass(slots=True, eq=False, repr=False)
class ToolCallSettled(StreamEvent):
    """A tool call was answered."""

    output: ToolOutput


@dataclass(slots=True, eq=False, repr=False)
class AttemptFailed(StreamEvent):
    """An attempt failed and another follows: text that was shown since the last step does not count."""

    attempt: int
    """The attempt that failed."""
    kind: str
    """Of the failure; see `FailureKind`."""
    code: str | None
    wait: float
    """Seconds until the next attempt."""
    discarded_characters: int
    """How much text was shown that does not count."""


@dataclass(slots=True, eq=False, repr=False)
class ReplyReady(StreamEvent):
    """The turn has ended well and is on the books. Always the last event."""

    reply: Reply
