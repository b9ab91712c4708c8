"""What the two guards share: settings, checks, threads, summary. The colours differ only in who waits, and how."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from assistantguard import tokens
from assistantguard._alerts import Alerts
from assistantguard._calling import ToolCalling
from assistantguard._checks import positive
from assistantguard.engine import Session
from assistantguard.errors import ConfigurationError
from assistantguard.ledger import Ledger, MemoryLedger
from assistantguard.models import Assistant, ThreadState
from assistantguard.policies import Metric, Policy, PolicySet, default_policies
from assistantguard.policies.checks import one_of
from assistantguard.prices import Price, PriceBook
from assistantguard.prices import warm_up as warm_up_prices
from assistantguard.telemetry import Sink, StructlogSink, Totals, fan_out, tracing_of
from assistantguard.tools import Toolbox

if TYPE_CHECKING:
    from assistantguard._described import DescribedAssistant
    from assistantguard._thread_book import ThreadBook, Turns
    from assistantguard.backends.port import ClientPort
    from assistantguard.engine import Backend, Driver, Engine
    from assistantguard.engine.cached import Cached
    from assistantguard.engine.payers import Payer
    from assistantguard.models import ToolCall
    from assistantguard.models.budget import BudgetReport
    from assistantguard.policies import TopicCheck
    from assistantguard.storage import Database, ThreadStore
    from assistantguard.telemetry import JsonLinesSink

__all__ = [
    "LEDGER_VARIABLE",
    "GuardCore",
    "Options",
    "SessionTokens",
    "Summary",
    "background_mode",
    "ledger_and_database",
    "run_tool",
    "threads_beside",
    "without_retries",
]

LEDGER_VARIABLE = "ASSISTANTGUARD_LEDGER"
"""The environment variable with the URL of the ledger's database, for guards that are given none."""


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
    ledger: Ledger | str | None
    sinks: Sequence[Sink] | None
    events: str | os.PathLike[str] | None
    background: bool | None
    cleanup_timeout: float
    max_threads_per_user: int | None
    topic_check: TopicCheck | None
    lease_seconds: float
    when_busy: str
    keep_content: bool
    assistant_id: str | None
    tools: Sequence[Callable[..., Any]]


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
        self, guard: Any, face: type, assistant: Assistant | None, options: Options, *, allows_async_tools: bool
    ) -> None:
        self._given = assistant
        self._described: DescribedAssistant | None = None
        self._assistant_id = options.assistant_id
        assistant = _assistant(assistant, options)
        self.prices = options.prices if isinstance(options.prices, PriceBook) else PriceBook(options.prices)
        self.toolbox = Toolbox(assistant.tools, max_tool_output_characters=options.max_tool_output_characters)
        if not allows_async_tools:
            _refuse_async_tools(self.toolbox)
        overridden = _overridden(guard, face)
        self._answers_all = bool(overridden)
        if self.toolbox.schema_only and not overridden:
            raise ConfigurationError(
                f"the tool {self.toolbox.schema_only[0]!r} is given as a schema, and nothing runs it: override"
                " dispatch_tool, or give the Python function instead"
            )
        self.tool_timeout = positive("tool_timeout", options.tool_timeout, optional=True)
        run_timeout = positive("run_timeout", options.run_timeout)
        cleanup_timeout = positive("cleanup_timeout", options.cleanup_timeout)
        assert run_timeout is not None
        assert cleanup_timeout is not None
        self.parallel = options.max_parallel_tools
        if isinstance(self.parallel, bool) or not isinstance(self.parallel, int) or self.parallel < 1:
            raise ConfigurationError(
                f"max_parallel_tools is {self.parallel!r}, it must be a whole number of at least 1: 1 runs one after"
                " another"
            )
        self.policies = _policies(options)
        _check_routes(self.policies, options)
        if self._given is not None:  # else its model is known only when the server was asked
            self.policies.check(assistant, self.prices)
        self.most_threads = _most_threads(options.max_threads_per_user)
        self.topic_check = _topic_check(options.topic_check)
        one_of("when_busy", options.when_busy, ("wait", "refuse"))
        self.waits = options.when_busy == "wait"
        lease_seconds = positive("lease_seconds", options.lease_seconds)
        assert lease_seconds is not None
        self.ledger, self._database = ledger_and_database(options.ledger)
        from assistantguard.storage.leases import Leases

        self.leases = Leases(threads_beside(self.ledger, content=options.keep_content), lease_seconds)
        self.totals = Totals()
        self._cached: Cached | None = None
        self._events = None if options.events is None else _events_file(options.events)
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
            _background(options),
            self.leases,
            takes_service_tiers=options.assistant_id is None,
            tracing=tracing_of(sinks),
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

    @property
    def describes_itself(self) -> bool:
        """Whether the assistant is the server's own, of the Assistants protocol."""
        return self._assistant_id is not None

    @property
    def cached(self) -> Cached | None:
        """The cache of replies, where a policy wants one."""
        return self._cached

    def book(self, engine: Engine, new_turns: Callable[[], Turns]) -> ThreadBook:
        """The threads of this guard, with locks of its colour."""
        from assistantguard._thread_book import ThreadBook
        from assistantguard.engine.lending import Lending

        self._cached = engine.cached
        lending = Lending(engine, self.leases, wait=self.waits)
        book = ThreadBook(engine, lending, self.leases, self.most_threads, self.topic_check, new_turns)
        if self._described is not None:
            book.prepare = self._described.prepare
        return book

    def backend(self, port: ClientPort, driver: Driver) -> Backend:
        """What drives the server: over Responses and Conversations, or over the Assistants protocol."""
        if self.session.tracing is not None:
            from assistantguard.backends.propagation import propagating

            port = propagating(port, self.session.tracing)
        if self._assistant_id is None:
            from assistantguard.backends.responses import ResponsesBackend

            return ResponsesBackend(port)
        from assistantguard._described import DescribedAssistant
        from assistantguard.backends.assistants import AssistantsBackend

        backend = AssistantsBackend(port, driver, self._assistant_id, self._given)
        self._described = DescribedAssistant(
            self.session, driver, backend, self.toolbox, self._given, answers_all=self._answers_all
        )
        return backend

    def close(self) -> None:
        """Write the events that are queued, see budgets' warnings out, and close the database that was opened here."""
        self.leases.stop()
        self._alerts.close()
        if self._cached is not None:
            self._cached.close()
        if self._events is not None:
            self._events.close()
        if self._database is not None:
            self._database.close()

    def budget(self, payer: Payer) -> BudgetReport:
        """What is left of the budgets that concern `payer`. May block."""
        from assistantguard.engine.payers import report

        return report(self.policies, self.ledger, payer, time.time())

    def set_budget(self, payer: Payer, amounts: Mapping[Metric, Any], budget: str | None, *, this_window: bool) -> None:
        """Set limits in place of the budgets' own, but for those to ``"keep"``. May block."""
        given: dict[Metric, Any] = {metric: amount for metric, amount in amounts.items() if amount != "keep"}
        from assistantguard.engine.payers import set_limits

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


def _check_routes(policies: PolicySet, options: Options) -> None:
    for route in policies.routes if options.assistant_id is not None else ():
        if route.service_tier is not None:
            raise ConfigurationError(
                f"a route has service_tier={route.service_tier!r}, and an assistant_id is given: that protocol knows no"
                " service tiers; leave it out"
            )


def ledger_and_database(given: Ledger | str | None) -> tuple[Ledger, Database | None]:
    """The books, and the database that was opened for them."""
    given = given or os.environ.get(LEDGER_VARIABLE) or None
    if given is None:
        return MemoryLedger(), None
    if isinstance(given, str):
        from assistantguard.ledger import open_ledger

        ledger = open_ledger(given)
        return ledger, ledger.database
    return given, None


def threads_beside(ledger: Ledger, *, content: bool) -> ThreadStore:
    """Where threads are kept: where the books are."""
    database: Database | None = getattr(ledger, "database", None)
    if database is None:
        from assistantguard.storage.memory_threads import MemoryThreads

        return MemoryThreads()
    from assistantguard.storage.sql_threads import SqlThreads

    return SqlThreads(database, content=content)


def _events_file(path: str | os.PathLike[str]) -> JsonLinesSink:
    from assistantguard.telemetry.jsonl import JsonLinesSink

    return JsonLinesSink(path)


def _topic_check(value: Any) -> TopicCheck | None:
    if value is None:
        return None
    from assistantguard.policies.topics import TopicCheck

    if not isinstance(value, TopicCheck):
        raise ConfigurationError(f"topic_check is {value!r}: give TopicCheck(…), or None for no check")
    return value


def _most_threads(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ConfigurationError(
        f"max_threads_per_user is {value!r}, it must be a whole number of at least 1, or None for no limit"
    )


def _assistant(given: Any, options: Options) -> Assistant:
    """The assistant that is given; a stand-in for one that only the server knows yet."""
    assistant_id, tools = options.assistant_id, options.tools
    if assistant_id is None and not isinstance(given, Assistant):
        raise ConfigurationError(
            f"assistant is {given!r}: give an Assistant(model=…, instructions=…, tools=[…]), or the assistant_id of a"
            " server that speaks the Assistants protocol"
        )
    if given is not None and not isinstance(given, Assistant):
        raise ConfigurationError(f"assistant is {given!r}: give an Assistant(…), or leave it out beside assistant_id")
    if assistant_id is not None and (not isinstance(assistant_id, str) or not assistant_id.strip()):
        raise ConfigurationError(f"assistant_id is {assistant_id!r}: give the server's id, for example 'asst_abc'")
    if given is not None:
        if tools:
            raise ConfigurationError("both assistant and tools are given: give the tools with Assistant(tools=[…])")
        return given
    assert assistant_id is not None
    return Assistant(model=assistant_id, tools=tools)


def _background(options: Options) -> bool | None:
    value: Any = options.background
    if options.assistant_id is not None:
        if value is not None and value is not True:
            raise ConfigurationError(
                f"background is {value!r}, and an assistant_id is given: runs of that protocol always go on by"
                " themselves; leave background out"
            )
        return True
    return background_mode(value)


def background_mode(value: Any) -> bool | None:
    """Check the argument `background`."""
    if value is None or isinstance(value, bool):
        return value
    raise ConfigurationError(f"background is {value!r}: give True, False, or None to use it where a run may take long")


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
