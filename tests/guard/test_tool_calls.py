"""Who answers a tool call, and what the model is told."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from assistantguard import AssistantGuard, AsyncAssistantGuard, ConfigurationError, ToolCall, ToolError, ToolOutput
from assistantguard.events import ToolSettled
from assistantguard.sandbox import Fault, FunctionCall, Sandbox, ToolCalls
from tests.support.checks import check_all
from tests.support.models import Lookups
from tests.support.world import Bot, World

SCHEMA = {
    "type": "function",
    "name": "lookup",
    "description": "Find an order.",
    "parameters": {
        "type": "object",
        "properties": {"order": {"type": "string"}},
        "required": ["order"],
        "additionalProperties": False,
    },
    "strict": True,
}


def outputs(sandbox: Sandbox) -> list[str]:
    """What the model was told last."""
    return [item["output"] for item in sandbox.requests[-1].body["input"]]


def one_call(world: World, tool: Any, arguments: Any = None, **options: Any) -> tuple[str, Bot]:
    """Let the model make one call; return what it is told of it."""
    name = tool["name"] if isinstance(tool, dict) else tool.__name__
    sandbox = world.sandbox([FunctionCall(name, {} if arguments is None else arguments), "Done."])
    bot = world.bot(sandbox, [], tools=[tool], **options)
    reply = bot.chat("Go")
    assert (reply.text, reply.run.steps, reply.run.calls) == ("Done.", 1, 1)
    check_all(bot, sandbox)
    return outputs(sandbox)[0], bot


def test_a_function_is_called_with_checked_arguments(world: World) -> None:
    got: list[Any] = []

    def lookup(order: int, since: dt.date, *, deep: bool = False) -> str:
        """Find an order.

        Args:
            order: Its number.
            since: The first day.
            deep: Whether to look twice.
        """
        got.append((order, since, deep))
        return "found"

    told, _ = one_call(world, lookup, {"order": 7, "since": "2026-11-01"})
    assert told == "found"
    assert got == [(7, dt.date(2026, 11, 1), False)]


@dataclasses.dataclass
class Order:
    number: int
    sent: dt.date


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("plain text", "plain text"),
        (None, "null"),
        ({"sent": True}, {"sent": True}),
        ([1, 2.5], [1, 2.5]),
        (Order(7, dt.date(2026, 11, 1)), {"number": 7, "sent": "2026-11-01"}),
        ("", ""),
    ],
)
def test_what_a_tool_returns_reaches_the_model_as_text_or_json(world: World, value: Any, told: Any) -> None:
    def lookup() -> Any:
        """Find it."""
        return value

    output, _ = one_call(world, lookup)
    assert (output if isinstance(told, str) else json.loads(output)) == told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LookupError("no such order\nTraceback: secret"), "LookupError: no such order"),
        (ToolError("Ask for the order number.\nnot this"), "Ask for the order number."),
        (ValueError(), "ValueError"),
        (TimeoutError("the shop took too long"), "TimeoutError: the shop took too long"),
        (TimeoutError(), None),
        (RuntimeError("x" * 5_000), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_tool_that_fails_tells_the_model_so_in_one_line(world: World, error: Exception, told: str | None) -> None:
    def lookup() -> str:
        """Find it."""
        raise error

    output, bot = one_call(world, lookup)
    assert "\n" not in output
    assert "Traceback" not in output
    assert len(output) <= 500
    assert output == told or (told is None and type(error).__name__ in output)
    (settled,) = bot.all(ToolSettled)
    assert settled.failed
    assert settled.error_type == type(error).__name__


@pytest.mark.parametrize(
    "arguments",
    [{}, {"order": [1]}, {"order": "1", "more": 2}, '{"order": "1"', "[1]", "", '"text"'],
    ids=["missing", "wrong type", "unknown", "cut off", "a list", "nothing", "a text"],
)
def test_wrong_arguments_reach_no_tool_but_the_model(world: World, arguments: Any) -> None:
    lookups = Lookups()
    sandbox = world.sandbox([FunctionCall("lookup", arguments), "Done."])
    bot = world.bot(sandbox, [], tools=[lookups.lookup])
    assert bot.chat("Go").text == "Done."
    assert not lookups.counts
    (output,) = outputs(sandbox)
    assert "\n" not in output
    assert "lookup" in output
    assert bot.all(ToolSettled)[0].failed
    check_all(bot, sandbox)


def test_a_tool_that_is_not_there_is_told_to_the_model(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox([FunctionCall("look_up", {"order": "1"}), "Done."])
    bot = world.bot(sandbox, [], tools=[lookups.lookup])
    assert bot.chat("Go").text == "Done."
    assert "lookup" in outputs(sandbox)[0]
    assert not lookups.counts
    check_all(bot, sandbox)


def test_a_schema_without_a_function_is_answered_by_the_override(world: World) -> None:
    calls: list[ToolCall] = []

    class Sync(AssistantGuard):
        def dispatch_tool(self, call: ToolCall) -> Any:
            calls.append(call)
            return {"order": call.arguments["order"], "status": "sent"}

    class Async(AsyncAssistantGuard):
        async def dispatch_tool(self, call: ToolCall) -> Any:
            calls.append(call)
            return {"order": call.arguments["order"], "status": "sent"}

    told, _ = one_call(world, SCHEMA, {"order": "W1"}, kinds=(Sync, Async))
    assert json.loads(told) == {"order": "W1", "status": "sent"}
    (call,) = calls
    assert (call.name, call.arguments, call.invalid) == ("lookup", {"order": "W1"}, None)


def test_a_schema_that_nothing_answers_is_refused_at_construction(world: World) -> None:
    with pytest.raises(ConfigurationError, match=r"'lookup'.*override dispatch_tool"):
        world.bot(world.sandbox(), [], tools=[SCHEMA])


def test_a_nested_schema_of_old_is_taken_too(world: World) -> None:
    class Sync(AssistantGuard):
        def dispatch_tool(self, call: ToolCall) -> Any:
            return "sent"

    class Async(AsyncAssistantGuard):
        async def dispatch_tool(self, call: ToolCall) -> Any:
            return "sent"

    nested = {"type": "function", "function": {key: value for key, value in SCHEMA.items() if key != "type"}}
    sandbox = world.sandbox(["Done."])
    world.bot(sandbox, [], tools=[nested], kinds=(Sync, Async)).chat("Go")
    assert sandbox.requests[-1].body["tools"] == [SCHEMA]


def test_an_override_may_answer_some_and_leave_the_rest(world: World) -> None:
    lookups = Lookups()

    class Sync(AssistantGuard):
        def dispatch_tool(self, call: ToolCall) -> Any:
            return "mine" if call.arguments.get("order") == "1" else super().dispatch_tool(call)

    class Async(AsyncAssistantGuard):
        async def dispatch_tool(self, call: ToolCall) -> Any:
            return "mine" if call.arguments.get("order") == "1" else await super().dispatch_tool(call)

    step = ToolCalls(*(FunctionCall("lookup", {"order": number}) for number in "12"))
    sandbox = world.sandbox([step, "Done."])
    bot = world.bot(sandbox, [], tools=[lookups.lookup], kinds=(Sync, Async))
    bot.chat("Go")
    assert outputs(sandbox) == ["mine", "order 2 was sent"]
    assert lookups.counts == {"2": 1}


def test_a_plain_override_of_the_asynchronous_guard_works() -> None:
    class Plain(AsyncAssistantGuard):
        def dispatch_tool(self, call: ToolCall) -> Any:
            assert threading.current_thread() is not threading.main_thread()
            return "from a thread"

    with World("async") as world:
        told, _ = one_call(world, SCHEMA, {"order": "1"}, kinds=(AssistantGuard, Plain))
    assert told == "from a thread"


StepResult = Callable[[Sequence[ToolCall]], Any]
LONELY: dict[str, tuple[StepResult, list[str]]] = {
    "a list": (lambda calls: [f"<{call.name}>" for call in calls], ["<lookup>", "<lookup>"]),
    "a tuple": (lambda calls: ("one", {"two": 2}), ["one", '{"two":2}']),
    "a mapping": (lambda calls: {call.id: "mapped" for call in calls}, ["mapped", "mapped"]),
    "a mapping with a gap": (lambda calls: {calls[0].id: "mapped"}, ["mapped", "LookupError"]),
    "outputs": (lambda calls: [ToolOutput(call.id, "out") for call in reversed(calls)], ["out", "out"]),
    "too few": (lambda calls: ["one"], ["TypeError", "TypeError"]),
    "too many": (lambda calls: ["one"] * 3, ["TypeError", "TypeError"]),
    "a text": (lambda calls: "ab", ["TypeError", "TypeError"]),
    "nothing": (lambda calls: None, ["TypeError", "TypeError"]),
    "an exception": (lambda calls: [KeyError("missing"), "fine"], ["KeyError", "fine"]),
}


@pytest.mark.parametrize("name", LONELY)
def test_a_whole_step_can_be_answered_at_once(world: World, name: str) -> None:
    answer, expected = LONELY[name]
    steps: list[int] = []

    class Sync(AssistantGuard):
        def dispatch_tools(self, calls: Sequence[ToolCall]) -> Any:
            steps.append(len(calls))
            return answer(calls)

    class Async(AsyncAssistantGuard):
        async def dispatch_tools(self, calls: Sequence[ToolCall]) -> Any:
            steps.append(len(calls))
            return answer(calls)

    step = ToolCalls(*(FunctionCall("lookup", {"order": number}, f"call_{number}") for number in "12"))
    sandbox = world.sandbox([step, "Done."])
    bot = world.bot(sandbox, [], tools=[SCHEMA], kinds=(Sync, Async))
    assert bot.chat("Go").text == "Done."
    assert steps == [2]
    sent = sandbox.requests[-1].body["input"]
    assert [item["call_id"] for item in sent] == ["call_1", "call_2"]
    for told, wanted in zip(outputs(sandbox), expected, strict=True):
        assert told == wanted or (wanted[0].isupper() and told.startswith(wanted))
    check_all(bot, sandbox)


def test_the_calls_of_a_step_run_side_by_side(world: World) -> None:
    meeting = threading.Barrier(3, timeout=60)

    def lookup(order: str) -> str:
        """Find an order."""
        meeting.wait()
        return order

    step = ToolCalls(*(FunctionCall("lookup", {"order": number}) for number in "123"))
    sandbox = world.sandbox([step, "Done."])
    bot = world.bot(sandbox, [], tools=[lookup])
    bot.chat("Go")
    assert outputs(sandbox) == ["1", "2", "3"]


def test_async_tools_of_a_step_run_side_by_side() -> None:
    running: list[str] = []

    async def lookup(order: str) -> str:
        """Find an order."""
        running.append(order)
        for _ in range(60_000):
            if len(running) == 3:
                break
            await asyncio.sleep(0.001)
        return order

    with World("async") as world:
        step = ToolCalls(*(FunctionCall("lookup", {"order": number}) for number in "123"))
        sandbox = world.sandbox([step, "Done."])
        world.bot(sandbox, [], tools=[lookup]).chat("Go")
        assert outputs(sandbox) == ["1", "2", "3"]


@pytest.mark.parametrize("parallel", [1, 2])
def test_no_more_calls_run_at_once_than_allowed(world: World, parallel: int) -> None:
    lock = threading.Lock()
    running = most = 0

    def lookup(order: str) -> str:
        """Find an order."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return order

    step = ToolCalls(*(FunctionCall("lookup", {"order": number}) for number in "12345"))
    sandbox = world.sandbox([step, "Done."])
    bot = world.bot(sandbox, [], tools=[lookup], max_parallel_tools=parallel)
    bot.chat("Go")
    assert outputs(sandbox) == list("12345")
    assert most <= parallel


TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("TENANT", default="nobody")


def test_tools_see_the_callers_context_variables(world: World) -> None:
    def lookup(order: str) -> str:
        """Find an order."""
        return f"{TENANT.get()}: {order}"

    step = ToolCalls(*(FunctionCall("lookup", {"order": number}) for number in "12"))
    sandbox = world.sandbox([step, "Done."])
    bot = world.bot(sandbox, [], tools=[lookup])
    token = TENANT.set("shop")
    try:
        bot.chat("Go")
    finally:
        TENANT.reset(token)
    assert outputs(sandbox) == ["shop: 1", "shop: 2"]


def test_text_that_no_request_can_carry_is_mended(world: World) -> None:
    def lookup() -> str:
        """Find it."""
        return "half a pair: \ud83d"

    output, _ = one_call(world, lookup)
    assert output.startswith("half a pair: ")


def test_two_calls_with_one_id_end_in_a_reply_or_a_named_error(world: World) -> None:
    lookups = Lookups()
    step = ToolCalls(FunctionCall("lookup", {"order": "1"}, "call_a"), FunctionCall("lookup", {"order": "2"}, "call_a"))
    sandbox = world.sandbox([step, "Done.", "Here I am."])
    bot = world.bot(sandbox, [], tools=[lookups.lookup])
    bot.try_chat("Go")
    assert set(lookups.counts.values()) <= {1}
    assert bot.chat("Are you there?").text in {"Done.", "Here I am."}


def test_tool_outputs_of_a_retried_request_are_not_made_again(world: World) -> None:
    lookups = Lookups()
    sandbox = world.sandbox(
        [FunctionCall("lookup", {"order": "1"}), "Done."], faults=[Fault.rate_limit(at=[2, 3], retry_after=0.01)]
    )
    bot = world.bot(sandbox, tools=[lookups.lookup])
    assert bot.chat("Go").run.retries == 2
    assert lookups.counts == {"1": 1}
    check_all(bot, sandbox)


def test_a_step_may_mix_async_and_plain_tools() -> None:
    lookups = Lookups()

    async def weigh(order: str) -> Mapping[str, int]:
        """Weigh an order."""
        await asyncio.sleep(0)
        return {"grams": 7}

    with World("async") as world:
        step = ToolCalls(FunctionCall("weigh", {"order": "1"}), FunctionCall("lookup", {"order": "1"}))
        sandbox = world.sandbox([step, "Done."])
        world.bot(sandbox, tools=[weigh, lookups.lookup]).chat("Go")
        assert outputs(sandbox) == ['{"grams":7}', "order 1 was sent"]


def test_a_long_output_is_cut_to_the_guards_limit_and_says_so(world: World) -> None:
    def lookup() -> str:
        return "x" * 5_000

    output, _ = one_call(world, lookup, max_tool_output_characters=1_000)
    assert len(output) <= 1_000
    assert output.startswith("xxx")
    assert "5000" in output.replace(",", "")
