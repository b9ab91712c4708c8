"""OpenTelemetry: the spans and metrics of turns, by the conventions' names, with the real SDK."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import tenacity
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler
from opentelemetry.trace import SpanKind

from assistantguard import (
    Assistant,
    AssistantGuard,
    AsyncAssistantGuard,
    CarryOver,
    ConfigurationError,
    OpenTelemetrySink,
    Reply,
    RequestRejected,
    RunState,
    ThreadRotation,
    ThreadState,
    TokenCap,
    ToolCallRequested,
    ToolStepCeiling,
    TransientRetry,
)
from assistantguard.dropin import drop_in
from assistantguard.events import RequestSettled, UsageCorrected
from assistantguard.models import Usage
from assistantguard.sandbox import Answer, Fault, FunctionCall, ToolCalls
from assistantguard.telemetry import otel
from tests.dropin.calling import LOOKUP
from tests.support.models import Lookups, order_desk
from tests.support.slow import is_text
from tests.support.spans import Spans, attributes_of, context_of, failed
from tests.support.world import MODEL, Bot, World
from tests.telemetry.test_events_out import no_secret, story

CHAT = f"chat {MODEL}"
TOOL = "execute_tool lookup"
RUN = "invoke_agent desk"
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["chat", "stream"])


@pytest.fixture
def spans() -> Iterator[Spans]:
    kept = Spans()
    yield kept
    assert not kept.open, "spans are left open"


@pytest.fixture
def blocking(warm: None) -> Iterator[World]:
    with World("sync") as world:
        yield world


@pytest.fixture
def asynchronous(warm: None) -> Iterator[World]:
    with World("async") as world:
        yield world


def desk(world: World, spans: Spans, model: Any = order_desk, tool: Any = None, *args: Any, **options: Any) -> Bot:
    """A guard that traces, over a sandbox."""
    sandbox = world.sandbox(model, **options.pop("sandbox", {}))
    assistant = Assistant(model=MODEL, name="desk", tools=[tool or Lookups().lookup])
    return world.bot(sandbox, *args, assistant=assistant, sinks=[spans.sink(**options.pop("sink", {}))], **options)


@STREAMED
def test_a_turn_is_a_tree_of_spans_with_the_conventions_names(world: World, spans: Spans, *, streamed: bool) -> None:
    bot = desk(world, spans)
    reply = bot.chat("Where is order 7?", streamed=streamed)

    assert [span.name for span in spans.ended] == [CHAT, TOOL, CHAT, RUN, "turn"]
    asked, tool, answered, run, turn = spans.ended
    assert [spans.parent(span) for span in spans.ended] == [RUN, RUN, RUN, "turn", None]
    assert {failed(span) for span in spans.ended} == {None}
    assert [span.kind for span in (asked, tool, run, turn)] == [SpanKind.CLIENT, *[SpanKind.INTERNAL] * 3]
    assert [link.context for link in tool.links] == [asked.context], "the tool is not linked to what asked for it"
    assert attributes_of(turn) == {"gen_ai.conversation.id": reply.thread_id, "assistantguard.turn": 1}
    assert attributes_of(run) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.agent.name": "desk",
        "gen_ai.conversation.id": reply.thread_id,
        "gen_ai.request.model": MODEL,
        "gen_ai.usage.input_tokens": reply.usage.input_tokens,
        "gen_ai.usage.output_tokens": reply.usage.output_tokens,
        "assistantguard.run.id": reply.run.id,
        "assistantguard.steps": 1,
        "assistantguard.calls": 1,
        "assistantguard.context_tokens": bot.default.state.context_tokens,
        "assistantguard.cost.usd": float(reply.cost or 0),
    }
    of_calls = [attributes_of(span) for span in (asked, answered)]
    assert [found["gen_ai.response.id"] for found in of_calls] == reply.run.response_ids
    for found in of_calls:
        assert {key: value for key, value in found.items() if key.startswith(("gen_ai", "openai"))} == {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": MODEL,
            "gen_ai.request.max_tokens": found["gen_ai.request.max_tokens"],
            **({"gen_ai.request.stream": True} if streamed else {}),
            "gen_ai.response.model": MODEL,
            "gen_ai.response.id": found["gen_ai.response.id"],
            "gen_ai.conversation.id": reply.thread_id,
            "gen_ai.usage.input_tokens": found["gen_ai.usage.input_tokens"],
            "gen_ai.usage.output_tokens": found["gen_ai.usage.output_tokens"],
        }
        assert found["assistantguard.generation.id"] == bot.default.state.generation_id
    assert sum(found["gen_ai.usage.input_tokens"] for found in of_calls) == reply.usage.input_tokens
    assert {key: value for key, value in attributes_of(tool).items() if key != "gen_ai.tool.call.id"} == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "lookup",
        "gen_ai.tool.type": "function",
    }


@STREAMED
def test_metrics_are_the_conventions_and_their_sums_the_bill(world: World, spans: Spans, *, streamed: bool) -> None:
    sandbox = world.sandbox(order_desk)
    bot = world.bot(sandbox, tools=[Lookups().lookup], sinks=[spans.sink()])
    cost = sum((bot.chat(f"Where is order {number}?", streamed=streamed).cost or 0 for number in range(3)), Decimal(0))

    told = {name: (metric.unit, type(metric.data).__name__) for name, metric in spans.metrics.items()}
    assert told == {
        "gen_ai.client.token.usage": ("{token}", "Histogram"),
        "gen_ai.client.operation.duration": ("s", "Histogram"),
        "assistantguard.cost": ("{nanodollar}", "Sum"),
    }
    assert spans.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {
        "input": sandbox.billing.input_tokens,
        "output": sandbox.billing.output_tokens,
    }
    assert spans.count("gen_ai.client.operation.duration") == sandbox.billing.requests == 6
    assert spans.sums("assistantguard.cost") == {None: int(cost * 10**9)}
    (seconds,) = spans.metrics["gen_ai.client.operation.duration"].data.data_points
    assert attributes_of(seconds) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
    }
    bounds = {
        name: list(getattr(metric.data.data_points[0], "explicit_bounds", ())) for name, metric in spans.metrics.items()
    }
    assert bounds["gen_ai.client.operation.duration"][:3] == [0.01, 0.02, 0.04]
    assert bounds["gen_ai.client.operation.duration"][-1] == 81.92
    assert bounds["gen_ai.client.token.usage"] == [4**power for power in range(14)]


def test_the_latest_names_are_used_where_the_environment_asks_for_them(
    blocking: World, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http, gen_ai_latest_experimental")
    sandbox = blocking.sandbox(order_desk)
    assistant = Assistant(MODEL, name="desk", tools=[Lookups().lookup], reasoning_effort="low")
    blocking.bot(sandbox, assistant=assistant, sinks=[spans.sink()]).chat("Where is order 7?")

    of_run, of_call = attributes_of(spans.one(RUN)), attributes_of(spans.named(CHAT)[0])
    assert "gen_ai.provider.name" not in of_run
    assert of_call["gen_ai.provider.name"] == "openai"
    assert of_call["gen_ai.request.reasoning.level"] == "low"
    prefix = "gen_ai.client.inference."
    assert set(spans.metrics) == {
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.usage.input_tokens",
        "gen_ai.client.inference.usage.output_tokens",
        "gen_ai.client.inference.operation.input_tokens",
        "gen_ai.client.inference.operation.output_tokens",
        "gen_ai.invoke_agent.duration",
        "gen_ai.invoke_agent.inference_calls",
        "gen_ai.invoke_agent.tool_calls",
        "gen_ai.execute_tool.duration",
        "assistantguard.cost",
    }
    modality = "gen_ai.token.modality"
    assert spans.sums(f"{prefix}usage.input_tokens", modality) == {"unknown": sandbox.billing.input_tokens}
    assert spans.sums(f"{prefix}operation.output_tokens") == {None: sandbox.billing.output_tokens}
    assert spans.sums("gen_ai.invoke_agent.inference_calls", "gen_ai.agent.name") == {"desk": 2}
    assert spans.sums("gen_ai.invoke_agent.tool_calls") == {None: 1}
    assert list(spans.sums("gen_ai.execute_tool.duration", "gen_ai.tool.name")) == ["lookup"]


# Context


@pytest.mark.parametrize("limit", [None, 60.0], ids=["without a limit", "with a limit"])
def test_a_tool_runs_with_its_own_span_as_the_current_one(world: World, spans: Spans, limit: float | None) -> None:
    def lookup(order: str) -> str:
        """Find an order."""
        with spans.tracer.start_as_current_span(f"query {order}"):
            return "sent"

    both = ToolCalls(FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}))
    desk(world, spans, [FunctionCall("lookup", {"order": "0"}), both, "Done"], lookup, tool_timeout=limit).chat("Go")

    queries = [spans.one(f"query {number}") for number in range(3)]
    assert [spans.parent(query) for query in queries] == [TOOL] * 3
    tools = {context_of(tool).span_id for tool in spans.named(TOOL)}
    assert {query.parent.span_id for query in queries if query.parent is not None} == tools
    assert len(tools) == 3


def test_a_coroutine_runs_with_its_own_span_as_the_current_one(asynchronous: World, spans: Spans) -> None:
    async def lookup(order: str) -> str:
        """Find an order."""
        with spans.tracer.start_as_current_span(f"query {order}"):
            await asyncio.sleep(0)
            return await asyncio.ensure_future(inner(order))

    async def inner(order: str) -> str:
        with spans.tracer.start_as_current_span(f"inner {order}"):
            return "sent"

    both = ToolCalls(FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}))
    desk(asynchronous, spans, [FunctionCall("lookup", {"order": "0"}), both, "Done"], lookup).chat("Go")
    for number in range(3):
        assert spans.parent(spans.one(f"query {number}")) == TOOL
        assert spans.parent(spans.one(f"inner {number}")) == f"query {number}"


def test_a_step_that_is_answered_as_a_whole_runs_in_the_run(world: World, spans: Spans) -> None:
    class Whole(AssistantGuard):
        def dispatch_tools(self, calls: Any) -> Any:
            with spans.tracer.start_as_current_span(f"whole {len(calls)}"):
                return [call.arguments["order"] for call in calls]

    class AsyncWhole(AsyncAssistantGuard):
        async def dispatch_tools(self, calls: Any) -> Any:
            with spans.tracer.start_as_current_span(f"whole {len(calls)}"):
                return [call.arguments["order"] for call in calls]

    both = ToolCalls(FunctionCall("lookup", {"order": "1"}), FunctionCall("lookup", {"order": "2"}))
    script = [both, FunctionCall("lookup", {"order": "3"}), "Done"]
    desk(world, spans, script, kinds=(Whole, AsyncWhole)).chat("Go")
    assert spans.parent(spans.one("whole 2")) == RUN
    assert spans.parent(spans.one("whole 1")) == TOOL
    assert [spans.parent(tool) for tool in spans.named(TOOL)] == [RUN] * 3


@STREAMED
def test_a_turn_is_the_child_of_what_its_caller_does_and_leaves_it_as_it_was(
    world: World, spans: Spans, *, streamed: bool
) -> None:
    bot = desk(world, spans)
    with spans.tracer.start_as_current_span("web request") as request:
        bot.chat("Where is order 7?", streamed=streamed)
        assert trace.get_current_span() is request
    assert spans.parent(spans.one("turn")) == "web request"


def test_between_two_events_of_a_stream_the_callers_span_is_the_current_one(blocking: World, spans: Spans) -> None:
    bot = desk(blocking, spans)
    with spans.tracer.start_as_current_span("web request") as request:
        seen = bot.stream("Where is order 7?", until=lambda event: trace.get_current_span() is not request)
    assert any(isinstance(event, ToolCallRequested) for event in seen)
    assert is_text(seen[-2])


def test_a_request_tells_the_server_of_its_trace_where_that_is_wanted(world: World, spans: Spans) -> None:
    sandbox = world.sandbox(order_desk)
    assistant = Assistant(MODEL, tools=[Lookups().lookup])
    silent = world.bot(sandbox, assistant=assistant, sinks=[Spans().sink()])
    silent.chat("Where is order 7?", streamed=True)
    assert not any("traceparent" in request.headers for request in sandbox.requests)
    before = len(sandbox.requests)
    telling = world.bot(sandbox, assistant=assistant, sinks=[spans.sink(propagate=True)])
    with spans.tracer.start_as_current_span("web request"):
        telling.chat("Where is order 7?", streamed=True)
        telling.chat("Where is order 8?")
    told = [
        request.headers["traceparent"] for request in sandbox.requests[before:] if request.endpoint == "POST /responses"
    ]
    sent = [context_of(span) for span in spans.named(CHAT)]
    assert told == [f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}" for context in sent]
    assert len(told) == 4
    (begun,) = [request for request in sandbox.requests[before:] if request.endpoint == "POST /conversations"]
    assert f"{sent[0].trace_id:032x}" in begun.headers["traceparent"]
    assert all(
        "x-client-request-id" in request.headers
        for request in sandbox.requests
        if request.endpoint == "POST /responses"
    )


# Errors


def test_what_fails_is_told_with_its_kind(world: World, spans: Spans) -> None:
    def lookup(order: str) -> str:
        """Find an order."""
        raise LookupError(order)

    faults = [Fault.rate_limit(retry_after=0.0, at=1), Fault.http(400, type="invalid_request_error", at=4)]
    retry = [TransientRetry(3, wait=tenacity.wait_none())]
    bot = desk(world, spans, order_desk, lookup, retry, sandbox={"faults": faults})
    bot.chat("Where is order 7?")

    limited, asked, answered = spans.named(CHAT)
    assert [failed(span) for span in (limited, asked, answered)] == ["rate_limit_exceeded", None, None]
    assert [attributes_of(span).get("assistantguard.attempt") for span in (limited, asked, answered)] == [None, 2, None]
    assert attributes_of(spans.one(RUN))["assistantguard.retries"] == 1
    assert failed(spans.one(TOOL)) == "LookupError"
    (retried,) = [event for event in spans.one(RUN).events if event.name == "run.retried"]
    assert attributes_of(retried)["assistantguard.kind"] == "transient"
    assert failed(spans.one(RUN)) is None
    assert spans.sums("gen_ai.client.operation.duration", "error.type").keys() == {None, "rate_limit_exceeded"}

    with pytest.raises(RequestRejected):
        bot.chat("Where is order 8?")
    assert failed(spans.named(CHAT)[-1]) == "invalid_request_error"
    assert failed(spans.named(RUN)[-1]) == failed(spans.named("turn")[-1]) == "RequestRejected"


def test_a_run_that_is_refused_says_why(blocking: World, spans: Spans) -> None:
    bot = desk(blocking, spans, order_desk, None, [TokenCap(session=64)])
    bot.try_chat("Where is order 7? " * 100)
    run = spans.one(RUN)
    assert failed(run) == failed(spans.one("turn")) == "BudgetExceeded"
    (refused,) = [event for event in run.events if event.name == "budget.refused"]
    assert attributes_of(refused)["assistantguard.policy"] == "TokenCap"
    assert not spans.named(CHAT)


def test_a_run_that_is_stopped_says_so(world: World, spans: Spans) -> None:
    bot = desk(world, spans, [FunctionCall("lookup", {"order": "1"})] * 3, None, [ToolStepCeiling(1)])
    bot.try_chat("Go")
    assert failed(spans.one(RUN)) == "ToolStepCeilingReached"
    assert "run.cancelled" in [event.name for event in spans.one(RUN).events]
    assert len(spans.named(TOOL)) == 1


def test_a_tool_that_takes_too_long_ends_when_its_time_is_over(world: World, spans: Spans) -> None:
    release = asyncio.Event() if world.is_async else None

    def lookup(order: str) -> str:
        """Find an order."""
        held.wait(60)
        return order

    async def lookup_async(order: str) -> str:
        """Find an order."""
        assert release is not None
        await release.wait()
        return order

    import threading

    held = threading.Event()
    lookup_async.__name__ = "lookup"
    try:
        desk(world, spans, order_desk, lookup_async if world.is_async else lookup, tool_timeout=0.01).chat("order 7")
    finally:
        held.set()
    assert failed(spans.one(TOOL)) == "TimeoutError"
    assert spans.parent(spans.one(TOOL)) == RUN


# Every span ends


def test_a_stream_that_is_left_ends_its_spans(world: World, spans: Spans) -> None:
    sink = spans.sink()
    bot = world.bot(world.sandbox([Answer("one two three four")]), sinks=[sink])
    bot.stream("Go", until=is_text)
    assert sink.open_turns == 0
    assert not spans.open
    run = spans.one("invoke_agent")
    assert attributes_of(run)["assistantguard.status"] == "cancelled"
    assert {failed(span) for span in spans.ended} == {None}, "leaving is told as an error"


def test_a_task_that_is_cancelled_ends_its_spans(asynchronous: World, spans: Spans) -> None:
    begun = asyncio.Event()

    async def lookup(order: str) -> str:
        """Find an order."""
        begun.set()
        await asyncio.Event().wait()
        return order

    sink = spans.sink()
    bot = asynchronous.bot(asynchronous.sandbox(order_desk), tools=[lookup], sinks=[sink])

    async def cancelled() -> None:
        task = asyncio.ensure_future(bot.guard.chat("Where is order 7?"))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asynchronous.wait(cancelled())
    assert sink.open_turns == 0
    assert {span.name for span in spans.ended} == {"turn", "invoke_agent", CHAT, TOOL}


def test_rotations_summaries_and_healing_stand_in_the_turn_that_made_them(world: World, spans: Spans) -> None:
    carry = CarryOver(tail_turns=0, digest_tokens=0, summary_model="gpt-6-nano")
    bot = desk(world, spans, ["Yes."] * 4, None, [ThreadRotation(max_turns=2, carry_over=carry)])
    for _ in range(3):
        bot.chat("Is it so?")
    run = spans.named(RUN)[-1]
    assert [event.name for event in run.events] == ["thread.rotated"]
    summary = spans.one("chat gpt-6-nano")
    assert attributes_of(summary)["assistantguard.purpose"] == "summary"
    assert spans.parent(summary) == RUN


def test_turns_side_by_side_keep_their_spans_apart(world: World, spans: Spans) -> None:
    sink = spans.sink()

    def lookup(order: str) -> str:
        """Find an order."""
        with spans.tracer.start_as_current_span(f"query {order}"):
            return "sent"

    bot = world.bot(world.sandbox(order_desk), tools=[lookup], sinks=[sink])
    threads = [bot.thread() for _ in range(6)]
    calls = [lambda n=n, thread=thread: thread.chat(f"Where is order {n}?") for n, thread in enumerate(threads)]
    replies = bot.at_once(*calls)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert sink.open_turns == 0
    by_trace: dict[int, list[str]] = {}
    for span in spans.ended:
        by_trace.setdefault(context_of(span).trace_id, []).append(span.name)
    whole = [sorted(["turn", "invoke_agent", CHAT, CHAT, TOOL, f"query {number}"]) for number in range(6)]
    assert sorted(sorted(names) for names in by_trace.values()) == whole


@pytest.mark.filterwarnings(
    "ignore:The Assistants API is deprecated:DeprecationWarning", "ignore:deprecated$:DeprecationWarning"
)
def test_a_run_that_waits_for_its_tools_holds_no_span_open(blocking: World, spans: Spans) -> None:
    sink = spans.sink()
    client: Any = drop_in(blocking.sandbox(order_desk).client(), sinks=[sink])
    assistant = client.beta.assistants.create(model=MODEL, name="desk", tools=[LOOKUP])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Where is order 7?"}])
    with spans.tracer.start_as_current_span("web request"):
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "requires_action"
    assert (sink.open_turns, spans.open) == (0, [])
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    ended = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "sent"}]
    )
    assert ended.status == "completed"
    assert [span.name for span in spans.ended if span.name != "web request"] == [CHAT, RUN, "turn"] * 2
    assert [attributes_of(run)["assistantguard.run.id"] for run in spans.named(RUN)] == [run.id] * 2
    assert spans.parent(spans.named("turn")[0]) == "web request"


def test_turns_that_nobody_ends_do_not_fill_the_memory(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel, "_MOST_OPEN", 3)
    sink = spans.sink()
    runs = [RunState(f"run_{number}", f"thread_{number}", MODEL) for number in range(10)]
    for run in runs:
        sink.begin("session", ThreadState(run.thread_id), run, None)
        assert sink.open_turns <= 3
    for run in runs:
        sink.end(run, None)
    assert sink.open_turns == 0
    assert [failed(span) for span in spans.named("turn")] == ["abandoned"] * 7 + [None] * 3


# Off, not sampled, out of order


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)], ids=["off", "parent"])
def test_what_is_not_sampled_is_measured_all_the_same(world: World, sampler: Sampler) -> None:
    spans = Spans(sampler)
    inside: list[trace.SpanContext] = []

    def lookup(order: str) -> str:
        """Find an order."""
        inside.append(trace.get_current_span().get_span_context())
        return f"order {order} was sent"

    bot = desk(world, spans, order_desk, lookup, sink={"propagate": True})
    bot.chat("Where is order 7?")
    assert not spans.ended
    assert spans.count("gen_ai.client.operation.duration") == 2
    assert inside[0].is_valid
    assert not inside[0].trace_flags.sampled, "what the tool begins would be sampled"


def test_estimates_are_no_measurements_and_what_was_told_late_is(spans: Spans) -> None:
    sink = spans.sink()
    place: dict[str, Any] = {"time": 1.0, "session_id": "s", "thread_id": "t", "run_id": "r", "model": MODEL}
    guess, truth = Usage(100, 0, 0, 50, 0, 150, 1), Usage(90, 0, 0, 20, 0, 0, 1)
    common: dict[str, Any] = {
        **place,
        "purpose": "run",
        "attempt": 1,
        "seconds": 1.0,
        "estimated_input_tokens": 9,
        "exact": False,
    }
    sink(RequestSettled(**common, status="unknown", usage=guess, cost=Decimal("0.5")))
    assert "gen_ai.client.token.usage" not in spans.metrics
    sink(
        UsageCorrected(
            **place, response_id="x", usage=truth, before=guess, cost=Decimal("0.6"), before_cost=Decimal("0.5")
        )
    )
    assert spans.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {"input": 90, "output": 20}
    sink(UsageCorrected(**place, response_id="x", usage=truth, before=truth, cost=Decimal(1), before_cost=Decimal(1)))
    sink(RequestSettled(**common, status="error", usage=Usage(), cost=Decimal(0), error="503"))
    assert spans.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {"input": 90, "output": 20}
    assert spans.count("gen_ai.client.operation.duration") == 2
    assert spans.sums("assistantguard.cost") == {None: 600_000_000}
    sink(RequestSettled(**common, status="completed", usage=truth, cost=None))
    assert spans.sums("assistantguard.unpriced_requests") == {None: 1}


def test_neither_spans_nor_metrics_hold_content_or_a_key(world: World, spans: Spans) -> None:
    story(world, sinks=[spans.sink(propagate=True)])
    told = [json.loads(span.to_json()) for span in spans.ended]
    assert {event["name"] for span in told for event in span["events"]} >= {
        "run.retried",
        "run.cancelled",
        "thread.rotated",
        "thread.healed",
        "budget.refused",
        "policy.observed",
    }
    for span in told:
        no_secret(json.dumps({**span, "resource": None}))
    for metric in spans.metrics.values():
        no_secret(metric.to_json())


@pytest.mark.parametrize("whole", range(3))
def test_a_tracer_that_breaks_ends_no_turn(
    blocking: World, spans: Spans, whole: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bot = desk(blocking, spans)
    tracer = type(spans.tracers.get_tracer("x"))
    start = tracer.start_span
    left = [None] * whole

    def breaking(*args: Any, **options: Any) -> Any:
        left.pop()
        return start(*args, **options)

    monkeypatch.setattr(tracer, "start_span", breaking)
    assert bot.chat("Where is order 7?").text == "Done: Where is order 7?"
    assert len(spans.ended) == whole
    assert "is not traced" in caplog.text
    assert spans.count("gen_ai.client.operation.duration") == 2


def test_two_sinks_that_trace_are_one_too_many(blocking: World, spans: Spans) -> None:
    with pytest.raises(ConfigurationError, match="sinks has 2 that trace"):
        blocking.bot(blocking.sandbox(), sinks=[spans.sink(), spans.sink()])


SCRIPT = """
import sys
sys.modules["opentelemetry"] = None
import assistantguard
try:
    assistantguard.OpenTelemetrySink()
except assistantguard.ConfigurationError as error:
    print(error)
"""


def test_a_missing_package_is_named_with_the_command_that_brings_it() -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert 'pip install "assistantguard[otel]"' in done.stdout


def test_without_an_sdk_nothing_is_recorded_and_nothing_breaks(blocking: World) -> None:
    bot = blocking.bot(blocking.sandbox(order_desk), tools=[Lookups().lookup], sinks=[OpenTelemetrySink()])
    assert bot.chat("Where is order 7?").text == "Done: Where is order 7?"
