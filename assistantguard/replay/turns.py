"""From chat messages to turns.

Recordings are not tidy. What is done about it is counted in `Notes`, so that it can be told:

- Several user messages in a row are one turn; their texts are joined.
- A user message that nobody answered cost nothing and is left out; one without text gets a short one.
- Assistant messages before the first user message were not an answer and are left out.
- System messages after the first user or assistant message are played with the next user message.
- Assistant messages in a row, with no tool call between them, are one answer.
- A tool call without an output gets a short text that says so; an output without a call is left out.
- A turn that ends with tool outputs is ended by a short text that says so, since a run ends with an answer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assistantguard.replay.recording import RecordedCall, RecordedStep, RecordedTurn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.replay.chat_format import ChatMessage

__all__ = ["Notes", "split_turns"]

NO_TEXT = "(no text)"

Notes = Counter[str]
"""What was done about untidy recordings, and how often."""


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: str
    output: str | None = None

    def freeze(self) -> RecordedCall:
        return RecordedCall(self.name, self.arguments, self.output)


@dataclass(slots=True)
class _Round:
    text: str
    calls: list[_Call]


@dataclass(slots=True)
class _Turn:
    text: str
    rounds: list[_Round] = field(default_factory=list)

    def freeze(self) -> RecordedTurn:
        last = self.rounds[-1]
        rounds, answer = (self.rounds, None) if last.calls else (self.rounds[:-1], last.text)
        steps = tuple(RecordedStep(one.text, tuple(call.freeze() for call in one.calls)) for one in rounds)
        return RecordedTurn(self.text, steps, answer)


class _Splitter:
    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.instructions: list[str] = []
        self.turns: list[_Turn] = []
        self._begun = False
        self._pending: list[str] = []
        self._pending_users = 0
        self._open: dict[str, list[_Call]] = {}
        """Calls that wait for an output, by id."""

    def add(self, message: ChatMessage) -> None:
        if message.has_other_parts:
            self.notes["messages with images, sound or files, of which only the text is played"] += 1
        match message.role:
            case "system" | "developer":
                self._add_system(message)
            case "user":
                self._begun = True
                self._pending.append(message.text)
                self._pending_users += 1
            case "assistant":
                self._begun = True
                self._add_assistant(message)
            case "tool":
                self._add_output(message)

    def end(self) -> None:
        self.notes["user messages without an answer, left out"] += self._pending_users
        self.notes["tool calls without an output"] += sum(map(len, self._open.values()))
        self.notes["turns that end with tool outputs"] += sum(bool(turn.rounds[-1].calls) for turn in self.turns)

    def _add_system(self, message: ChatMessage) -> None:
        if not self._begun:
            self.instructions.append(message.text)
        else:
            self._pending.append(message.text)
            self.notes["later system messages, played with the next user message"] += 1

    def _add_assistant(self, message: ChatMessage) -> None:
        calls = [_Call(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
        if not calls and not message.text:
            self.notes["assistant messages that say nothing, left out"] += 1
            return
        if self._pending_users:
            self.notes["user messages joined with the one before"] += self._pending_users - 1
            text = "\n\n".join(filter(None, self._pending))
            self.notes["user messages without text"] += not text
            self.turns.append(_Turn(text or NO_TEXT))
            self._pending, self._pending_users = [], 0
        elif not self.turns:
            self.notes["assistant messages before the first user message, left out"] += 1
            return
        rounds = self.turns[-1].rounds
        if rounds and not rounds[-1].calls:
            before = rounds.pop()
            self.notes["assistant messages joined with the one before"] += 1
            rounds.append(_Round("\n\n".join(filter(None, (before.text, message.text))), calls))
        else:
            rounds.append(_Round(message.text, calls))
        for call in calls:
            self._open.setdefault(call.id, []).append(call)

    def _add_output(self, message: ChatMessage) -> None:
        waiting = self._open.get(message.tool_call_id or "")
        if not waiting:
            self.notes["tool outputs without a call, left out"] += 1
            return
        waiting.pop(0).output = message.text


def split_turns(messages: Sequence[ChatMessage], notes: Notes) -> tuple[str, tuple[RecordedTurn, ...]]:
    """Group messages into turns.

    Args:
        messages: In order.
        notes: Gets what was done about untidy ones.

    Returns:
        The instructions and the turns; no turns where no user message was answered.
    """
    splitter = _Splitter(notes)
    for message in messages:
        splitter.add(message)
    splitter.end()
    return "\n\n".join(filter(None, splitter.instructions)), tuple(turn.freeze() for turn in splitter.turns)
