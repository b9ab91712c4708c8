"""Stories that are told to a guard whatever its backend, and all that can be compared of them afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assistantguard import AssistantGuardError, Policy, Reply
from assistantguard.ledger import Entry
from assistantguard.models import AttemptFailed, StreamEvent, TextDelta, ToolCallRequested, ToolCallSettled, Usage
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest, Sandbox, ToolCalls
from tests.support.world import Bot

__all__ = ["Account", "Shop", "Story", "desk", "tell"]

_OF_THE_RUN = (
    "id",
    "thread_id",
    "run_id",
    "session_id",
    "time",
    "seconds",
    "response_id",
    "request_id",
    "generation_id",
    "from_generation_id",
    "to_generation_id",
    "vector_store_id",
    "call_id",
)
"""What no two runs of a story have in common."""


class Shop:
    """Functions, and what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def lookup(self, order: str) -> str:
        """Find an order."""
        self.asked.append(order)
        if order == "0":
            raise LookupError("there is no such order")
        return f"order {order} was sent"

    @property
    def tools(self) -> list[Callable[..., Any]]:
        return [self.lookup]


def desk(request: ModelRequest) -> str | ToolCalls:
    """Look up the orders that the user asks for, those of a sentence at once, then answer. It keeps no state."""
    answered = 0
    for item in reversed(request.items):
        if item["type"] == "message" and item.get("role") == "user":
            break
        answered += item["type"] == "function_call_output"
    for sentence in request.last_user_text.split("."):
        orders = re.findall(r"order (\w+)", sentence)
        if orders and answered < len(orders) and request.may_call_tools:
            name = f"call_{len(request.items)}"
            return ToolCalls(*(FunctionCall("lookup", {"order": order}, f"{name}_{order}") for order in orders))
        answered -= len(orders)
    return f"Done: {request.last_user_text}"


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """What is said to an assistant, and under which circumstances."""

    name: str
    messages: Sequence[str]
    policies: Callable[[], Sequence[Policy]] = tuple
    tools: bool = False
    """Whether the assistant has the shop's functions."""
    model: Callable[[ModelRequest], Any] = desk
    fault: Callable[[], Fault] | None = None
    files: Sequence[str] = ()
    """Texts of files that are attached before the first message."""
    max_output_tokens: int | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class Account:
    """What came of a story, without ids and times."""

    turns: list[dict[str, Any]] = field(default_factory=list)
    """What each turn ended in."""
    streams: list[list[tuple[Any, ...]]] = field(default_factory=list)
    """What streams told, turn by turn."""
    asked: list[str] = field(default_factory=list)
    """What the functions were asked for, sorted: those of a step run side by side."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The rows of the ledger."""
    balances: dict[str, Any] = field(default_factory=dict)
    """What is spent, and what is held, in the account of the session, by metric."""
    open_holds: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    """Telemetry."""


def tell(story: Story, bot: Bot, shop: Shop, *, streamed: bool, sandbox: Sandbox | None = None) -> Account:
    """Tell a story to a guard. `sandbox` takes its files."""
    account = Account()
    if story.files:
        assert sandbox is not None
        files = sandbox.client().files
        ids = [
            files.create(file=(f"{number}.txt", text.encode()), purpose="assistants").id
            for number, text in enumerate(story.files)
        ]
        bot.attach_files(ids)
    for message in story.messages:
        told: list[StreamEvent] = []
        account.turns.append(_turn(bot, message, told, streamed=streamed))
        if streamed:
            account.streams.append(_joined(told))
    account.asked = sorted(shop.asked)
    account.rows = [_row(entry) for entry in bot.ledger.entries()]
    account.balances = {
        "tokens": bot.ledger.balance(bot.session_account, "tokens"),
        "cost": bot.ledger.balance(bot.session_account, "cost"),
    }
    account.open_holds = len(bot.ledger.open_holds())
    account.summary = _without(dict(bot.guard.summary()), _OF_THE_RUN)
    account.events = [_without(event.record(), _OF_THE_RUN, bot.session_account) for event in bot.events]
    return account


def _turn(bot: Bot, message: str, told: list[StreamEvent], *, streamed: bool) -> dict[str, Any]:
    outcome: Any
    if not streamed:
        outcome = bot.try_chat(message)
    else:
        try:
            bot.stream(message, until=lambda event: _noted(told, event))
            outcome = getattr(told[-1], "reply", None)
        except AssistantGuardError as error:
            outcome = error
    run = outcome.run
    return {
        "ended in": type(outcome).__name__,
        "text": outcome.text if isinstance(outcome, Reply) else None,
        "status": run.status,
        "steps": run.steps,
        "calls": run.calls,
        "retries": run.retries,
        "answers": run.answers,
        "wrapping_up": run.wrapping_up,
        "incomplete_reason": run.incomplete_reason,
        "last_error": run.last_error,
        "usage": _counted(run.usage),
        "cost": run.cost,
    }


def _noted(told: list[StreamEvent], event: StreamEvent) -> bool:
    told.append(event)
    return False


def _joined(events: Sequence[StreamEvent]) -> list[tuple[Any, ...]]:
    """Events of a stream, pieces of text joined."""
    told: list[tuple[Any, ...]] = []
    for event in events:
        if isinstance(event, TextDelta):
            if told and told[-1][:2] == ("text", event.step):
                told[-1] = ("text", event.step, told[-1][2] + event.text)
            else:
                told.append(("text", event.step, event.text))
        elif isinstance(event, ToolCallRequested):
            told.append(("call", event.call.name, event.call.arguments_json))
        elif isinstance(event, ToolCallSettled):
            told.append(("output", event.output.output, event.output.failed))
        elif isinstance(event, AttemptFailed):
            told.append(("failed", event.attempt, event.kind, event.discarded_characters))
        else:
            told.append((type(event).__name__,))
    return told


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "attempt": entry.attempt,
        "model": entry.model,
        "purpose": entry.purpose,
        "usage": _counted(entry.usage),
        "cost": entry.cost,
        "price_source": entry.price_source,
        "provisional": entry.provisional,
    }


def _counted(usage: Usage) -> tuple[int, ...]:
    """Input, cached, output, reasoning, estimated."""
    return (
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.estimated_tokens,
    )


def _without(record: Mapping[str, Any], names: Sequence[str], session_account: str = "") -> dict[str, Any]:
    return {
        name: "the session's" if session_account and value == session_account else value
        for name, value in record.items()
        if name not in names
    }
