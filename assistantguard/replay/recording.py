"""Recorded conversations as data: turns, their tool steps, and the values that tool arguments repeat."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Conversation", "RecordedCall", "RecordedStep", "RecordedThread", "RecordedTurn"]


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A tool call and what the tool answered."""

    name: str
    arguments: str
    """As the model wrote them (JSON)."""
    output: str | None
    """None where the recording has no output for it."""
    earlier_values: tuple[str, ...] = ()
    """The values in `arguments` that had occurred earlier in the thread, once for each time they are used."""


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """A model answer that asked for tools."""

    text: str
    """What the model said beside the calls; mostly empty."""
    calls: tuple[RecordedCall, ...]


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """A user's message and everything that followed until the next one."""

    text: str
    steps: tuple[RecordedStep, ...]
    answer: str | None
    """None where the recording ends with tool outputs that no model answered."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line of a file."""

    id: str
    source: str
    """File and line."""
    model: str | None
    """As recorded; None where it is not."""
    instructions: str
    """The system messages that it begins with."""
    turns: tuple[RecordedTurn, ...]


@dataclass(frozen=True, slots=True)
class RecordedThread:
    """One or more conversations that are played one after another on one thread."""

    id: str
    model: str
    instructions: str
    tools: tuple[dict[str, object], ...]
    """Function schemas, flat as in the Responses API."""
    turns: tuple[RecordedTurn, ...]
    conversations: int
