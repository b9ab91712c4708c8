"""Playing traffic through guards on the sandbox: as it is, and with a suggestion followed."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from assistantguard import (
    Assistant,
    AssistantGuard,
    ModelRouting,
    Otherwise,
    Policy,
    Refused,
    RunStopped,
    ShortMessages,
    ThreadRotation,
    ToolCall,
    ToolStepCeiling,
    TopicCheck,
)
from assistantguard.advice import Advice, History, Suggestion, advise, history_of, read_events
from assistantguard.replay import RecordedThread
from assistantguard.replay.model import RecordedModel
from assistantguard.sandbox import Sandbox
from benchmarks._advise_traffic import Traffic

__all__ = ["Compared", "compare", "play"]

_NAMES: dict[str, Any] = {
    "ThreadRotation": ThreadRotation,
    "ToolStepCeiling": ToolStepCeiling,
    "ModelRouting": ModelRouting,
    "Otherwise": Otherwise,
    "ShortMessages": ShortMessages,
}


class _Guard(AssistantGuard):
    """Answers every step with what was recorded."""

    recorded: RecordedModel

    def dispatch_tools(self, calls: Sequence[ToolCall]) -> list[str]:  # noqa: ARG002  they are the recording's
        return self.recorded.outputs()


@dataclass(frozen=True, slots=True)
class Compared:
    """A suggestion, and what following it came to."""

    traffic: str
    suggestion: Suggestion
    replayed: Decimal | None
    """US dollars saved; None where nothing can be replayed."""

    @property
    def off(self) -> float | None:
        """How far the computed saving is from the replayed one, as a share of that."""
        computed = self.suggestion.saving
        if self.replayed is None or computed is None:
            return None
        if not self.replayed:
            return 0.0 if not computed else 1.0
        return float(abs(computed - self.replayed) / abs(self.replayed))


def play(traffic: Traffic, events: Path | None = None) -> Decimal:
    """Play traffic and return its bill in US dollars, as the sandbox made it.

    Where the assistant changes from turn to turn, each is asked by a guard of its own, and all share a database.
    """
    model = RecordedModel()
    with TemporaryDirectory(prefix="advise") as folder, Sandbox(model, model_in_thread=False) as sandbox:
        client = sandbox.client()
        for number, thread in enumerate(traffic.threads):
            policies = traffic.policies(number)
            assistants = [traffic.assistant(thread, turn) for turn in range(len(thread.turns))]
            ledger = f"sqlite:///{folder}/guard.db" if any(one != assistants[0] for one in assistants) else None
            for assistant, turns in itertools.groupby(zip(assistants, thread.turns, strict=True), itemgetter(0)):
                with _Guard(client, assistant, policies, sinks=[], events=events, ledger=ledger) as guard:
                    guard.recorded = model
                    for _, turn in turns:
                        model.begin(turn)
                        with contextlib.suppress(RunStopped, Refused):
                            guard.thread(thread.id).chat(turn.text)
        cost = sandbox.billing.cost
        assert cost is not None
        return cost


def compare(traffic: Traffic, history: History | None = None) -> tuple[Advice, list[Compared]]:
    """Advise on traffic, then follow each suggestion that can be followed by itself.

    Args:
        traffic: What is played.
        history: What to advise on; None takes what playing it tells.
    """
    with TemporaryDirectory(prefix="advise") as folder:
        events = Path(folder) / "events.jsonl"
        before = play(traffic, events)
        if history is None:
            history = history_of(traffic.threads) if traffic.has_texts else read_events(events)
    advice = advise(history)
    compared = []
    for suggestion in advice.suggestions:
        changed = _followed(traffic, suggestion)
        compared.append(Compared(traffic.name, suggestion, None if changed is None else before - play(changed)))
    return advice, compared


def _followed(traffic: Traffic, suggestion: Suggestion) -> Traffic | None:
    """The traffic with a suggestion followed; None where the sandbox has nothing to tell of it."""
    match suggestion.kind:
        case "rotation" | "step_ceiling" | "cheaper_model":
            policy = eval(suggestion.setting, {**_NAMES})  # the line that was suggested, as it stands
            return dataclasses.replace(traffic, policies=_with(traffic.policies, policy))
        case "topics":
            return dataclasses.replace(traffic, threads=[part for each in traffic.threads for part in _split(each)])
        case "cache_prefix":
            return dataclasses.replace(traffic, assistant=_fixed(traffic.assistant))
        case "cache_writes":
            body = {"prompt_cache_options": {"mode": "explicit"}}
            return dataclasses.replace(traffic, assistant=_changed(traffic.assistant, extra_body=lambda _old: body))
        case "cache_minimum":
            more = int(suggestion.setting.rpartition("# ")[2].partition(" ")[0])
            return dataclasses.replace(
                traffic, assistant=_changed(traffic.assistant, instructions=lambda old: old + " word" * more)
            )
        case _:
            return None


def _with(policies: Callable[[int], list[Policy]], policy: Policy) -> Callable[[int], list[Policy]]:
    def made(number: int) -> list[Policy]:
        return [policy, *(each for each in policies(number) if type(each) is not type(policy))]

    return made


def _split(thread: RecordedThread) -> list[RecordedThread]:
    """Threads that begin where messages leave the topic."""
    check, said, parts = TopicCheck(), list[str](), [list[Any]()]
    for turn in thread.turns:
        if check.leaves(turn.text, said[-check.remember :]):
            parts.append([])
        parts[-1].append(turn)
        said += (turn.text, turn.answer or "")
    return [
        dataclasses.replace(thread, id=f"{thread.id} part {number}", turns=tuple(part))
        for number, part in enumerate(parts)
        if part
    ]


def _fixed(assistant: Callable[[RecordedThread, int], Assistant]) -> Callable[[RecordedThread, int], Assistant]:
    first: dict[str, Assistant] = {}
    return lambda thread, _turn: first.setdefault(thread.model, assistant(thread, 0))


def _changed(
    assistant: Callable[[RecordedThread, int], Assistant], **changes: Callable[[Any], Any]
) -> Callable[[RecordedThread, int], Assistant]:
    def made(thread: RecordedThread, turn: int) -> Assistant:
        before = assistant(thread, turn)
        return dataclasses.replace(before, **{name: change(getattr(before, name)) for name, change in changes.items()})

    return made
