"""What the two guards share: settings, checks, threads, summary. The colours differ only in who waits, and how."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from assistantguard import tokens
from assistantguard._alerts import Alerts
from assistantguard._calling import ToolCalling
from assistantguard.engine import Session
from assistantguard.engine.budgets import Payer, report, set_limits
from assistantguard.errors import ConfigurationError, RunTimedOut
from assistantguard.ledger import Ledger, MemoryLedger
from assistantguard.models import Assistant, ThreadState
from assistantguard.models.budget import BudgetReport
from assistantguard.policies import Metric, Policy, PolicySet, default_policies
from assistantguard.prices import Price, PriceBook
from assistantguard.prices import warm_up as warm_up_prices
from assistantguard.telemetry import JsonLinesSink, Sink, StructlogSink, Totals, fan_out
from assistantguard.tools import Toolbox

if TYPE_CHECKING:
    from assistantguard.models import ToolCall

__all__ = [
    "GuardCore",
    "Message",
    "Options",
    "SessionTokens",
    "Summary",
    "check_client",
    "check_message",
    "new_thread_state",
    "run_tool",
    "until",
    "waited_too_long",
    "without_retries",
]

Message = str | Sequence[Mapping[str, Any]]
"""A user's message: text, or content parts as the Responses API takes them."""


@dataclass(slots=True, eq=False, repr=False)
class Options:
    """What both guards take, beside client and assistant. Their docstrings say what each is."""

    policies: Sequence[Policy] | None
    max_turns: int | None
    max_tool_call_steps: int | None
    max_transient_retries: int | None
    session_token_ceiling: int | None
    run_timeout: float
    tool_timeout: float | None
    max_parallel_tools: int
    max_tool_output_characters: int | None
    prices: Mapping[str, Price] | PriceBook | None
    ledger: Ledger | None
    sinks: Sequence[Sink] | None
    events: str | os.PathLike[str] | None
    background: bool | None
    cleanup_timeout: float


class SessionTokens(TypedDict):
    """Tokens that a session used."""

    input: int
    """All input, cached included."""
    cached: int
    output: int
    """All output, reasoning included."""
    reasoning: int
    total: int
    """Input and output."""


class Summary(TypedDict):
    """What `summary()` returns."""

    run_count: int
    cancelled_runs: int
    retried_runs: int
    rotations: int
    current_turn_count: int
    """Turns of the default thread since its last rotation."""
    session_tokens_used: SessionTokens
    cost: Decimal | None
    """US dollars; None where a price is unknown."""
    estimated_tokens: int
    """The part of the tokens that the server did not report."""
    vector_store_id: str | None
    thread_id: str | None
    """Of the default thread; None before its first use."""


_SHORT_FORM = ("max_turns", "max_tool_call_steps", "max_transient_retries", "session_token_ceiling")


class GuardCore:
    """Builds a session out of a guard's arguments.

    Args:
        guard: The guard itself, whose ``dispatch_tool`` and ``dispatch_tools`` answer tool calls.
        face: The class whose methods they are unless a subclass overrides them.
        assistant: Its assistant.
        options: Its other arguments.
        allows_async_tools: Whether tools may be coroutine functions.
    """

    def __init__(
        self, guard: Any, face: type, assistant: Assistant, options: Options, *, allows_async_tools: bool
    ) -> None:
        if not isinstance(assistant, Assistant):
            raise ConfigurationError(
                f"assistant is {assistant!r}: give an Assistant(model=…, instructions=…, tools=[…])"
            )
        self.prices = options.prices if isinstance(options.prices, PriceBook) else PriceBook(options.prices)
        self.toolbox = Toolbox(assistant.tools, max_tool_output_characters=options.max_tool_output_characters)
        if not allows_async_tools:
            _refuse_async_tools(self.toolbox)
        overridden = _overridden(guard, face)
        if self.toolbox.schema_only and not overridden:
            raise ConfigurationError(
                f"the tool {self.toolbox.schema_only[0]!r} is given as a schema, and nothing runs it: override"
                " dispatch_tool, or give the Python function instead"
            )
        self.tool_timeout = _positive("tool_timeout", options.tool_timeout, optional=True)
        run_timeout = _positive("run_timeout", options.run_timeout)
        cleanup_timeout = _positive("cleanup_timeout", options.cleanup_timeout)
        assert run_timeout is not None
        assert cleanup_timeout is not None
        self.parallel = options.max_parallel_tools
        if isinstance(self.parallel, bool) or not isinstance(self.parallel, int) or self.parallel < 1:
            raise ConfigurationError(
                f"max_parallel_tools is {self.parallel!r}, it must be a whole number of at least 1: 1 runs one after"
                " another"
            )
        self.policies = _policies(options)
        for policy in self.policies.policies:
            policy.check(assistant, self.prices)
        self.ledger: Ledger = MemoryLedger() if options.ledger is None else options.ledger
        self.totals = Totals()
        self._events = None if options.events is None else JsonLinesSink(options.events)
        self._alerts = Alerts(self.policies)
        sinks: list[Sink] = [self.totals, self._alerts]
        sinks += (StructlogSink(),) if options.sinks is None else options.sinks
        if self._events is not None:
            sinks.append(self._events)
        self.session = Session(
            uuid.uuid4().hex,
            assistant,
            self.toolbox.schemas,
            json.dumps(self.toolbox.schemas) if self.toolbox.schemas else "",
            self.policies,
            self.prices,
            self.ledger,
            fan_out(sinks),
            run_timeout,
            cleanup_timeout,
            _background(options.background),
        )
        self.calling = ToolCalling(
            self.toolbox,
            guard.dispatch_tool,
            guard.dispatch_tools if "dispatch_tools" in overridden else None,
            self.tool_timeout,
            self.parallel,
        )
        tokens.warm_up()
        warm_up_prices()

    def close(self) -> None:
        """Write the events that are queued, and see budgets' warnings out."""
        self._alerts.close()
        if self._events is not None:
            self._events.close()

    def budget(self, payer: Payer) -> BudgetReport:
        """What is left of the budgets that concern `payer`. May block."""
        return report(self.policies, self.ledger, payer, time.time())

    def set_budget(self, payer: Payer, amounts: Mapping[Metric, Any], budget: str | None, *, this_window: bool) -> None:
        """Set limits in place of the budgets' own, but for those to ``"keep"``. May block."""
        given = {metric: amount for metric, amount in amounts.items() if amount != "keep"}
        set_limits(self.policies, self.ledger, payer, given, budget=budget, this_window=this_window, now=time.time())

    def summary(self, thread: ThreadState | None) -> Summary:
        """The totals of the session, and the state of its default thread."""
        totals = self.totals
        usage = totals.usage
        return {
            "run_count": totals.run_count,
            "cancelled_runs": totals.cancelled_runs,
            "retried_runs": totals.retried_runs,
            "rotations": totals.rotations,
            "current_turn_count": 0 if thread is None else thread.generation_turns,
            "session_tokens_used": {
                "input": usage.input_tokens,
                "cached": usage.cached_tokens,
                "output": usage.output_tokens,
                "reasoning": usage.reasoning_tokens,
                "total": usage.total_tokens,
            },
            "cost": totals.cost,
            "estimated_tokens": usage.estimated_tokens,
            "vector_store_id": None if thread is None else thread.vector_store_id,
            "thread_id": None if thread is None else thread.id,
        }


def new_thread_state(thread_id: str | None, conversation_id: str | None, now: float) -> ThreadState:
    """The state of a thread that begins, or that takes up a conversation that exists."""
    state = ThreadState(thread_id or f"thread_{uuid.uuid4().hex}", created_at=now, last_used_at=now)
    if conversation_id is not None:
        state.generation = 1
        state.generation_id = conversation_id
        state.generation_started_at = now
        state.suspect = True
        state.adopted = True
    return state


def check_client(client: object, wanted: type, other: type, mend: str) -> None:
    """Refuse a client of the other colour, and one that is too old or no client at all.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if isinstance(client, other):
        raise ConfigurationError(f"the client is an {other.__name__}, this guard needs an {wanted.__name__}: {mend}")
    for part in ("responses", "conversations", "with_options"):
        if not hasattr(client, part):
            raise ConfigurationError(
                f"the client {type(client).__name__} has no {part!r}: pass an openai.{wanted.__name__} of openai 1.101"
                " or newer"
            )


def check_message(message: Any) -> str | list[dict[str, Any]]:
    """A user's message as the API takes it: text, or content parts (``input_text``, ``input_image``, …).

    Raises:
        ConfigurationError: It is empty, or something else.
    """
    checked: str | list[dict[str, Any]] = ""
    if isinstance(message, str):
        checked = message if message.strip() else ""
    elif isinstance(message, Sequence) and all(isinstance(part, Mapping) for part in message):
        checked = [dict(part) for part in message]
    if checked:
        try:
            json.dumps(checked, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"the message cannot be sent: {error}; give valid text and JSON values") from error
        return checked
    raise ConfigurationError(
        f"the message is {message!r}: give a text that is not empty, or a list of content parts such as"
        " {'type': 'input_text', 'text': '…'}"
    )


def run_tool(toolbox: Toolbox, call: ToolCall) -> Any:
    """Answer a call with the assistant's own function: its result (a coroutine for async functions), or a failure."""
    from assistantguard.models import ToolOutput
    from assistantguard.tools import prepare

    prepared = prepare(toolbox, call)
    return prepared if isinstance(prepared, ToolOutput) else prepared.run()


def _policies(options: Options) -> PolicySet:
    policies = options.policies
    short = {name: value for name in _SHORT_FORM if (value := getattr(options, name)) is not None}
    if policies is None:
        return PolicySet(default_policies(**short))
    if short:
        raise ConfigurationError(
            f"both policies and {', '.join(short)} are given: put the limits into the policies, or leave policies out"
        )
    if isinstance(policies, Policy):
        raise ConfigurationError(f"policies is {policies.name}: give a list, policies=[{policies.name}(…)]")
    return PolicySet(policies)


def _positive(name: str, value: Any, *, optional: bool = False) -> float | None:
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} is {value!r}, it must be a number of seconds above 0: change it")
    return float(value)


def _background(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ConfigurationError(f"background is {value!r}: give True, False, or None to use it where a run may take long")


def until(deadline: float | None) -> float | None:
    """Unix time at which a turn that begins now must have ended.

    Raises:
        ConfigurationError: `deadline` is no number of seconds above 0.
    """
    seconds = _positive("deadline", deadline, optional=True)
    return None if seconds is None else time.time() + seconds


def waited_too_long(thread_id: str) -> RunTimedOut:
    """The error for a turn whose deadline passed while others had the thread."""
    error = RunTimedOut(
        f"the turn's deadline passed while it waited for earlier turns of the thread {thread_id}: nothing was sent;"
        " allow more time, or send fewer messages at once"
    )
    error.policy, error.thread_id = "deadline", thread_id
    return error


def _refuse_async_tools(toolbox: Toolbox) -> None:
    for name in toolbox.functions:
        if toolbox.is_async(name):
            raise ConfigurationError(
                f"the tool {name!r} is async, and AssistantGuard is not: make it a plain function, or use"
                " AsyncAssistantGuard"
            )


def _overridden(guard: object, face: type) -> set[str]:
    """Which of the override points a subclass overrides."""
    points = ("dispatch_tool", "dispatch_tools")
    return {name for name in points if getattr(type(guard), name) is not getattr(face, name)}


def without_retries(client: Any) -> Any:
    """The same client with its own retries off: ours would multiply with them, and hidden attempts are billed."""
    return client if getattr(client, "max_retries", None) == 0 else client.with_options(max_retries=0)
