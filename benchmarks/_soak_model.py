"""What the soak's users write and what its model answers, so that every reply tells what the server holds.

Each message carries a mark that no other message has. The model answers the newest message, with tool calls first
where the message asks for them, and says which marks it has seen and in which conversation.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assistantguard.sandbox import Answer, FunctionCall, ModelRequest, Scripted, ToolCalls

__all__ = ["TOOL", "Held", "Plan", "Seen", "answer", "held_in", "message_of", "read_reply", "shortened"]

TOOL = "look_up"
_FRAME = "<carried-over>"
"""What a rotation's notes begin with: their text is no user's message."""
_MARK = re.compile(r"\[(\d+\.\d+)\]")
_PLAN = re.compile(r"\((\d+) steps of (\d+), (\d+) words, (\d+) ms, (\d+) ms a piece\)")
_REPLY = re.compile(r"Answer to \[([\d.]+)\] in (\S+) seen \{([^}]*)\} noted \{([^}]*)\}")
_SHORT = 30
_WORDS = ("two", "kettles", "and", "a", "grinder", "were", "handed", "to", "the", "carrier", "on", "Monday;")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a message has the model do."""

    steps: int = 0
    """Tool steps before the answer."""
    calls: int = 1
    """Calls in each."""
    words: int = 20
    """Length of the answer."""
    delay: int = 0
    """Milliseconds until the model begins."""
    pace: int = 0
    """Milliseconds between two pieces of the answer."""

    @classmethod
    def draw(cls, dice: random.Random) -> Plan:
        """A mix: most messages are answered at once, some need tools, some take their time."""
        steps = dice.choices((0, 1, 2, 3), (60, 25, 10, 5))[0]
        slow = dice.random() < 0.3
        return cls(
            steps,
            dice.choices((1, 2, 4), (70, 20, 10))[0],
            dice.choices((8, 30, 90), (50, 35, 15))[0],
            dice.randrange(20, 300) if slow else 0,
            dice.randrange(1, 15) if dice.random() < 0.2 else 0,
        )


def message_of(mark: str, plan: Plan) -> str:
    """A user's message."""
    return (
        f"[{mark}] Where is order W{mark.replace('.', '')}, and when is it going to be here?"
        f" ({plan.steps} steps of {plan.calls}, {plan.words} words, {plan.delay} ms, {plan.pace} ms a piece)"
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What a conversation holds."""

    asked: Mapping[str, int]
    """How often each user message stands in it, by its mark, oldest first."""
    answered: Mapping[str, int]
    """How often an answer to each message stands in it."""
    noted: frozenset[str]
    """Marks in the notes that a rotation carried into it."""
    open_calls: int
    """Function calls without an output."""


def held_in(items: Sequence[Mapping[str, Any]]) -> Held:
    """What the items of a conversation come to."""
    asked: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    noted: set[str] = set()
    calls: set[str] = set()
    for item in items:
        if item["type"] == "function_call":
            calls.add(item["call_id"])
        elif item["type"] == "function_call_output":
            calls.discard(item["call_id"])
        elif item["type"] == "message":
            text = _text(item)
            if item["role"] == "assistant":
                said = _REPLY.search(text)
                answered.update([said[1]] if said is not None else ())
            elif text.startswith(_FRAME):
                noted.update(_MARK.findall(text))
            else:
                asked.update(_MARK.findall(text)[:1])
    return Held(asked, answered, frozenset(noted), len(calls))


def shortened(item: Mapping[str, Any]) -> str:
    """An item in a few words."""
    if item["type"] != "message":
        return f"{item['type']} {item.get('call_id', '')}"
    text = _text(item)
    return f"{item['role']} {text if len(text) <= _SHORT else text[:_SHORT] + '…'}"


def answer(request: ModelRequest) -> Scripted:
    """The model: calls the tools that the newest message asks for, then answers."""
    if request.conversation is None:
        return "A customer asks about orders and parcels."
    newest = max(
        (index for index, item in enumerate(request.items) if _is_asked(item)),
        default=None,
    )
    if newest is None:
        return "Nobody has asked anything."
    text = _text(request.items[newest])
    mark, planned = _MARK.search(text), _PLAN.search(text)
    if mark is None or planned is None:
        return "That is no message of the soak."
    plan = Plan(*map(int, planned.groups()))
    done = _steps_done(request.items[newest:], mark[1])
    if done < plan.steps and request.may_call_tools:
        calls = [FunctionCall(TOOL, {"mark": mark[1], "step": done, "number": number}) for number in range(plan.calls)]
        return ToolCalls(*calls)
    held = held_in(request.items)
    seen = " ".join(f"{name}x{count}" for name, count in held.asked.items())
    noted = " ".join(sorted(held.noted))
    words = " ".join(_WORDS[number % len(_WORDS)] for number in range(plan.words))
    said = f"Answer to [{mark[1]}] in {request.conversation} seen {{{seen}}} noted {{{noted}}}: {words}"
    return Answer(said, delay=plan.delay / 1000, pace=plan.pace / 1000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reply tells."""

    mark: str
    """Of the message that it answers."""
    conversation: str
    asked: Mapping[str, int]
    """How often the model saw each user message."""
    noted: frozenset[str]
    """Marks in carried notes."""


def read_reply(text: str) -> Seen | None:
    """Read what the model said; None where it said something else, or was cut short."""
    said = _REPLY.search(text)
    if said is None:
        return None
    pairs = [entry.split("x") for entry in said[3].split()]
    return Seen(said[1], said[2], {name: int(count) for name, count in pairs}, frozenset(said[4].split()))


def _is_asked(item: Mapping[str, Any]) -> bool:
    return item["type"] == "message" and item["role"] == "user" and not _text(item).startswith(_FRAME)


def _steps_done(items: Sequence[Mapping[str, Any]], mark: str) -> int:
    steps: set[int] = set()
    for item in items:
        if item["type"] == "function_call" and item["name"] == TOOL:
            arguments = json.loads(item["arguments"])
            if arguments["mark"] == mark:
                steps.add(arguments["step"])
    return len(steps)


def _text(item: Mapping[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
