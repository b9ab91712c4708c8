"""From files of conversations to the threads that are played."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from assistantguard.replay.chat_format import BadConversationError, parse_chat
from assistantguard.replay.recording import Conversation, RecordedThread
from assistantguard.replay.turns import Notes, split_turns
from assistantguard.replay.values import argument_values, holds
from assistantguard.reports.lines import BadLine, BadLines, numbered_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from assistantguard.replay.recording import RecordedTurn

__all__ = ["Recordings", "make_threads", "read_recordings", "small_tools"]

LONGEST_LINE = 256 << 20
"""Bytes."""


@dataclass(slots=True)
class Recordings:
    """What the files held."""

    files: list[list[Conversation]] = field(default_factory=list)
    """The conversations of each file, in order."""
    notes: Notes = field(default_factory=Notes)
    bad: BadLines = field(default_factory=BadLines)

    @property
    def count(self) -> int:
        """How many conversations there are."""
        return sum(map(len, self.files))


def read_recordings(*paths: Path) -> Recordings:
    """Read files of conversations in OpenAI chat format, one a line.

    Lines that cannot be played are in the result's `bad`; conversations in which nobody was answered are left
    out and noted.

    Raises:
        OSError: A file cannot be read.
    """
    recordings = Recordings()
    for path in paths:
        with path.open("rb") as stream:
            recordings.files.append(_read_file(stream, str(path), recordings))
    return recordings


def _read_file(stream: BinaryIO, name: str, recordings: Recordings) -> list[Conversation]:
    conversations: list[Conversation] = []
    for number, line in numbered_lines(stream, name, recordings.bad, longest=LONGEST_LINE):
        try:
            record = parse_chat(line)
        except BadConversationError as error:
            recordings.bad.add(BadLine(name, number, str(error)))
            continue
        instructions, turns = split_turns(record.messages, recordings.notes)
        if not turns:
            recordings.notes["conversations in which no user message was answered, left out"] += 1
            continue
        source = f"{name}:{number}"
        label = source if record.id is None else str(record.id)
        conversations.append(Conversation(label, source, record.model, instructions, turns))
    return conversations


def make_threads(
    recordings: Recordings,
    *,
    chain: int = 1,
    choose_model: Callable[[str | None], str],
    tools: Sequence[Mapping[str, object]] | None = None,
) -> list[RecordedThread]:
    """Chain each file's conversations into threads, in order, and mark the values that tool arguments repeat.

    A thread has the first conversation's instructions and model, since an application's assistant has one of
    each. Conversations with others are noted.

    Args:
        recordings: What was read; its notes are added to.
        chain: Conversations to a thread; a file's last thread may have fewer.
        choose_model: From the recorded model to the one that is played.
        tools: Function schemas. None makes small ones from the calls: a name, and any parameters.
    """
    return [
        _chain(conversations[start : start + chain], recordings.notes, choose_model, tools)
        for conversations in recordings.files
        for start in range(0, len(conversations), chain)
    ]


def _chain(
    conversations: Sequence[Conversation],
    notes: Notes,
    choose_model: Callable[[str | None], str],
    tools: Sequence[Mapping[str, object]] | None,
) -> RecordedThread:
    first = conversations[0]
    model = choose_model(first.model)
    for other in conversations[1:]:
        if other.instructions != first.instructions:
            notes["chained conversations with other instructions; the first one's are played"] += 1
        if choose_model(other.model) != model:
            notes["chained conversations with another model; the first one's is played"] += 1
    turns = tuple(turn for conversation in conversations for turn in conversation.turns)
    return RecordedThread(
        id=first.id if len(conversations) == 1 else f"{first.id} … {conversations[-1].id}",
        model=model,
        instructions=first.instructions,
        tools=tuple(dict(tool) for tool in (tools if tools is not None else small_tools(turns))),
        turns=_mark_earlier_values(turns),
        conversations=len(conversations),
    )


def small_tools(turns: Iterable[RecordedTurn]) -> list[dict[str, object]]:
    """Make the least schemas that make the recorded calls valid."""
    names = dict.fromkeys(call.name for turn in turns for step in turn.steps for call in step.calls)
    return [{"type": "function", "name": name, "parameters": {"type": "object"}, "strict": False} for name in names]


def _mark_earlier_values(turns: Iterable[RecordedTurn]) -> tuple[RecordedTurn, ...]:
    said: list[str] = []
    known: set[str] = set()

    def occurred(value: str) -> bool:
        if value not in known and any(holds(text, value) for text in reversed(said)):
            known.add(value)
        return value in known

    marked: list[RecordedTurn] = []
    for turn in turns:
        said.append(turn.text)
        steps = []
        for step in turn.steps:
            calls = tuple(
                replace(call, earlier_values=tuple(filter(occurred, argument_values(call.arguments))))
                for call in step.calls
            )
            said.append(step.text)
            said.extend(call.output for call in calls if call.output is not None)
            steps.append(replace(step, calls=calls))
        said.append(turn.answer or "")
        marked.append(replace(turn, steps=tuple(steps)))
    return tuple(marked)
