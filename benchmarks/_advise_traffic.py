"""Traffic to advise on: what users write, what tools and the model answer, and how the application is set up."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assistantguard import Assistant, CostCap, Policy, ThreadRotation, TokenCap
from assistantguard.advice.history import History, Turn
from assistantguard.replay import (
    RecordedCall,
    RecordedStep,
    RecordedThread,
    RecordedTurn,
    make_threads,
    model_chooser,
    read_recordings,
)
from benchmarks._soak_guards import KINDS, Kind, look_up
from benchmarks._soak_guards import MODEL as SOAK_MODEL
from benchmarks._soak_guards import assistant as soak_assistant
from benchmarks._soak_model import TOOL, Plan, message_of

__all__ = ["TRAFFIC", "Traffic", "faq", "letters", "recorded", "shop", "soak", "soak_of", "soak_unguarded"]

_CALL_TOKENS = 25
_TOKENS_A_WORD = 1.15
"""Of the soak's calls and answers."""

_NEVER = 1_000_000
_SENTENCE = "two kettles and a grinder were handed to the carrier on Monday, as the order book says;"
_SHOP = (
    "You are the support assistant of a kitchen shop. Answer in a few plain sentences. Compare devices by what the user"
    " needs them for. Never invent a number; where you are not sure, say so and ask. "
)


def never() -> list[Policy]:
    """The policies of an application that nothing guards."""
    return [ThreadRotation(_NEVER)]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What is said on threads, and how they are driven."""

    name: str
    threads: Sequence[RecordedThread]
    policies: Callable[[int], list[Policy]] = field(default=lambda _number: never())
    """Of the thread with that number, fresh ones."""
    assistant: Callable[[RecordedThread, int], Assistant] = field(default=lambda thread, _turn: plain(thread))
    """Of a turn of a thread, by its number."""
    has_texts: bool = False
    """Whether it is advised on as recorded conversations, and not by its events."""


def plain(thread: RecordedThread, **others: Any) -> Assistant:
    """A thread's assistant."""
    return Assistant(thread.model, thread.instructions, thread.tools, **others)


def recorded(file: Path, *, chain: int, most: int | None = None, model: str | None = None) -> Traffic:
    """Conversations of a file, so many to a thread, at most `most` of them."""
    recordings = read_recordings(file)
    recordings.files = [conversations[:most] for conversations in recordings.files]
    threads = make_threads(recordings, chain=chain, choose_model=model_chooser(model))
    return Traffic(file.stem, threads, has_texts=True)


def soak(threads: int = 20, turns: int = 30, seed: int = 0) -> Traffic:
    """The soak's messages, plans, tools and guards, with nothing going wrong."""
    dice = random.Random(f"{seed} advise")
    assistant = soak_assistant()
    made = [
        _thread(
            f"soak-{number}",
            SOAK_MODEL,
            [soak_turn(f"{number}.{turn}", Plan.draw(dice)) for turn in range(1, turns + 1)],
        )
        for number in range(threads)
    ]
    return Traffic("soak", made, lambda number: _uncapped(KINDS[number % len(KINDS)]), lambda _thread, _turn: assistant)


def soak_turn(mark: str, plan: Plan) -> RecordedTurn:
    """A turn of the soak, as its model and tools answer. The marks that its model lists are left out."""
    steps = []
    for step in range(plan.steps):
        outputs = [(number, look_up(mark, step, number)) for number in range(plan.calls)]
        calls = [
            RecordedCall(TOOL, f'{{"mark": "{mark}", "step": {step}, "number": {number}}}', output)
            for number, output in outputs
        ]
        steps.append(RecordedStep("", tuple(calls)))
    return RecordedTurn(message_of(mark, plan), tuple(steps), f"Answer to [{mark}]: {_words(plan.words)}")


def soak_unguarded(threads: int = 3, turns: int = 80) -> Traffic:
    """The soak's traffic in one conversation for good."""
    return dataclasses.replace(soak(threads, turns), name="soak, unguarded", policies=lambda _number: never())


def soak_of(history: History) -> Traffic:
    """The traffic that a soak's events tell of: the same plans, as far as sizes show them, with nothing going wrong."""
    made, kinds = [], []
    for thread in history.threads:
        number = int(thread.id.split("-")[1])
        turns = [
            soak_turn(f"{number}.{position}", _plan_of(turn))
            for position, turn in enumerate(thread.turns, start=1)
            if turn.calls
        ]
        if turns:
            made.append(_thread(thread.id, thread.turns[0].calls[0].model, turns))
            kinds.append(KINDS[number % len(KINDS)])
    assistant = soak_assistant()

    return Traffic("soak's events", made, lambda number: _uncapped(kinds[number]), lambda _thread, _turn: assistant)


def _uncapped(kind: Kind) -> list[Policy]:
    """A guard's policies without caps, which refuse turns for what others of the guard have spent."""
    return [each for each in kind.policies() if not isinstance(each, (TokenCap, CostCap))]


def _plan_of(turn: Turn) -> Plan:
    """What a turn's sizes say that its message asked for."""
    written = [call.kept_tokens for call in turn.calls if not call.is_estimate]
    calls = max(1, round(written[0] / _CALL_TOKENS)) if turn.steps and written else 1
    words = max(1, round((written[-1] if written else _CALL_TOKENS) / _TOKENS_A_WORD))
    return Plan(turn.steps, calls, words)


def shop(threads: int = 12, turns: int = 8) -> Traffic:
    """Easy questions and hard ones, all to a dear model, with time and name at the beginning of the instructions."""

    def turn(thread: int, number: int) -> RecordedTurn:
        if number % 4 == 3:
            text = (
                f"Please compare the espresso machine {number} with the filter machine {thread}: why would I pay twice"
                " as much, if I drink three cups in the morning, have hard water, and want to keep it for years?"
            )
            call = RecordedCall("find_device", f'{{"device": "E{number}-{thread}"}}', _words(120))
            return RecordedTurn(text, (RecordedStep("", (call,)),), _words(150))
        return RecordedTurn(f"Where is my order {thread}{number}?", (), _words(12))

    made = [
        _thread(f"shop-{number}", "gpt-5.5", [turn(number, each) for each in range(turns)], _SHOP * 40, "find_device")
        for number in range(threads)
    ]
    return Traffic(
        "shop",
        made,
        assistant=lambda thread, turn: Assistant(
            thread.model, f"It is 10:{turn:02} o'clock, for {thread.id}. {thread.instructions}", thread.tools
        ),
    )


def letters(threads: int = 30) -> Traffic:
    """One question about one long letter each, on a model that bills what is written to the prompt cache."""
    made = [
        _thread(
            f"letter-{number}",
            "gpt-6-luna",
            [RecordedTurn(f"Sum up letter {number}: " + _words(1_500 + 10 * number), (), _words(60))],
        )
        for number in range(threads)
    ]
    return Traffic("letters", made)


def faq(threads: int = 40, turns: int = 2) -> Traffic:
    """Short threads under instructions that are a little too short to be cached."""
    made = [
        _thread(
            f"faq-{number}",
            "gpt-4.1",
            [RecordedTurn(f"When are you open on day {number}{turn}?", (), _words(8)) for turn in range(turns)],
            _SHOP * 19,
        )
        for number in range(threads)
    ]
    return Traffic("faq", made)


TRAFFIC: Sequence[Callable[[], Traffic]] = (soak, soak_unguarded, shop, letters, faq)
"""What is made here."""


def _thread(
    name: str, model: str, turns: Sequence[RecordedTurn], instructions: str = "", *tools: str
) -> RecordedThread:
    schemas = tuple(
        {"type": "function", "name": tool, "parameters": {"type": "object"}, "strict": False} for tool in tools
    )
    return RecordedThread(name, model, instructions, schemas, tuple(turns), 1)


def _words(count: int) -> str:
    words = _SENTENCE.split()
    return " ".join(words[number % len(words)] for number in range(count))
