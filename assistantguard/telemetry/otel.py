"""OpenTelemetry: spans for turns, runs, model calls and tool calls, and metrics of what they took, used and cost.

It needs the extra ``otel``; the application brings the SDK and configures it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError
from assistantguard.events import (
    Event,
    RequestSettled,
    RunSettled,
    RunStarted,
    RunStep,
    ToolSettled,
    TurnStarted,
    UsageCorrected,
)
from assistantguard.telemetry import otel_attributes as attributes
from assistantguard.telemetry import otel_names as names

try:
    from opentelemetry import context as otel_context
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode
except ImportError as missing:
    raise ConfigurationError(
        f'OpenTelemetrySink needs the package opentelemetry-api ({missing}): pip install "assistantguard[otel]"'
    ) from None

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from assistantguard.models import RunState, ThreadState, ToolCall
    from assistantguard.telemetry.otel_metrics import Metrics
    from assistantguard.telemetry.tracing import Around, ModelCall

__all__ = ["OpenTelemetrySink"]

_logger = logging.getLogger("assistantguard")
_NOTHING = nullcontext()
_ERROR = Status(StatusCode.ERROR)
_SCOPE = "assistantguard"
_PLACE = frozenset({"event", "time", "session_id", "thread_id", "run_id"})
"""Fields of an event that are not repeated where it stands in a span."""
_LEFT = ("GeneratorExit", "CancelledError", "KeyboardInterrupt")
"""What ends a turn that its caller left: no error."""
_MOST_OPEN = 10_000
"""Turns that may be open at once. A caller who never ends his streams must not fill the memory."""


class _Turn:
    """The spans of one turn that are open."""

    __slots__ = ("agent", "asked", "call", "call_context", "conversation", "key", "model", "open", "recording", "tools")

    def __init__(
        self, key: tuple[str, str], conversation: str, agent: str | None, span: Span, context: Context
    ) -> None:
        self.key = key
        self.conversation = conversation
        self.agent = agent
        self.model = ""
        self.open: list[tuple[Span, Context]] = [(span, context)]
        """The turn's span, and the run's once it began, with the context in which each is the current one."""
        self.recording = span.is_recording()
        self.call: Span | None = None
        """The model call in flight."""
        self.call_context: Context | None = None
        self.asked: Link | None = None
        """The last model call that ended: what asked for the tools that run now."""
        self.tools: dict[str, tuple[Span, int]] | None = {}
        """By call, with when each began; None once the turn is over."""

    @property
    def context(self) -> Context:
        """Of the innermost of turn and run."""
        return self.open[-1][1]


class OpenTelemetrySink:
    """Traces every turn, and measures every request.

    ::

        bot = AssistantGuard(client, assistant, sinks=[OpenTelemetrySink()])

    A turn is a child of the span that is the current one where `chat` is called, or where a stream is first read: that
    of the web request, for one. Below it are the run (``invoke_agent``), and below that its model calls (``chat``) and
    tool calls (``execute_tool``); a tool's code runs with its own span as the current one. Neither spans nor metrics
    carry messages, instructions, arguments or outputs.

    Args:
        tracer_provider: Makes the spans; None leaves it to the global one.
        meter_provider: Makes the instruments; None leaves it to the global one.
        propagate: Whether requests to the server carry the current trace (``traceparent``, or what the application's
            propagators write), so that a server that traces, too, goes on with it.
        provider: ``gen_ai.provider.name``, where the server is not OpenAI's.

    Raises:
        ConfigurationError: The package opentelemetry-api is missing.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        propagate: bool = False,
        provider: str = "openai",
    ) -> None:
        from assistantguard.telemetry.otel_metrics import CurrentMetrics, LatestMetrics

        self.propagates = propagate
        self._provider = provider
        self._latest = names.wants_latest()
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        kind = LatestMetrics if self._latest else CurrentMetrics
        self._metrics: Metrics = kind(metrics.get_meter(_SCOPE, meter_provider=meter_provider), provider)
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}
        """Those that are open, by run."""
        self._by_thread: dict[tuple[str, str], _Turn] = {}
        self._takers: dict[type[Event], Callable[[Any], None]] = {
            RunStarted: self._run_started,
            RequestSettled: self._request_settled,
            ToolSettled: self._tool_settled,
            RunSettled: self._run_settled,
            TurnStarted: _told_otherwise,
            RunStep: _told_otherwise,
        }

    @property
    def open_turns(self) -> int:
        """How many turns are under way, whose spans are open."""
        return len(self._turns)

    # Events

    def __call__(self, event: Event) -> None:
        """Take one event."""
        taker = self._takers.get(type(event))
        if taker is None:
            self._noted(event)
        else:
            taker(event)

    def _run_started(self, event: RunStarted) -> None:
        turn = self._turns.get(event.run_id)
        if turn is not None:
            self._begin_run(turn, event.run_id, event.model)

    def _request_settled(self, event: RequestSettled) -> None:
        turn = self._turns.get(event.run_id)
        context = None
        if turn is not None and turn.call is not None:
            span, context = turn.call, turn.call_context
            turn.call = turn.call_context = None
            turn.asked = Link(span.get_span_context())
            span.set_attributes(attributes.of_answer(event, latest=self._latest))
            if event.error is not None:
                _fail(span, event.error)
            span.end()
        self._metrics.request(event, context)

    def _tool_settled(self, event: ToolSettled) -> None:
        turn = self._turns.get(event.run_id)
        agent = None
        if turn is not None:
            agent = turn.agent
            begun = None if turn.tools is None else turn.tools.pop(event.call_id, None)
            if begun is None and turn.recording:  # its time was over before it began
                at = int((event.time - event.seconds) * 1e9)
                begun = self._tool_span(turn, event.tool, event.call_id, at), at
            if begun is not None:
                span, at = begun
                if event.failed:
                    _fail(span, event.error_type or "_OTHER")
                span.end(min(at + int(event.seconds * 1e9), time.time_ns()))
        self._metrics.tool(event, agent, None if turn is None else turn.context)

    def _run_settled(self, event: RunSettled) -> None:
        turn = self._turns.get(event.run_id)
        context, agent = None, None
        if turn is not None:
            context, agent = turn.context, turn.agent
            if len(turn.open) > 1:
                span, _ = turn.open.pop()
                span.set_attributes(attributes.of_run(event, turn.model))
                if event.error is not None and event.error not in _LEFT:
                    _fail(span, event.error)
                span.end()
        self._metrics.run(event, agent, context)

    def _noted(self, event: Event) -> None:
        """Put anything else that happened into the span of the turn, or the run, in which it did."""
        if isinstance(event, UsageCorrected):
            self._metrics.corrected(event)
        turn = self._turns.get(getattr(event, "run_id", None) or "") or self._by_thread.get(
            (event.session_id, event.thread_id)
        )
        if turn is not None and turn.recording:
            fields = {names.OWN + key: value for key, value in event.record().items() if key not in _PLACE}
            turn.open[-1][0].add_event(event.name, fields)

    # Tracing: see `assistantguard.telemetry.tracing.Tracing`

    def begin(self, session_id: str, thread: ThreadState, run: RunState, agent: str | None) -> None:
        """See `Tracing.begin`."""
        try:
            span = self._tracer.start_span(names.TURN, attributes=attributes.of_turn(thread.id, thread.turns + 1))
            context = trace.set_span_in_context(span)
            turn = _Turn((session_id, thread.id), thread.id, agent, span, context)
        except Exception:
            _logger.exception("the turn %s is not traced", run.id)
            return
        with self._lock:
            left = self._turns.pop(run.id, None)
            self._turns[run.id] = self._by_thread[turn.key] = turn
            if left is None and len(self._turns) > _MOST_OPEN:
                left = self._turns.pop(next(iter(self._turns)))
        if left is not None:
            self._end(left, "abandoned")
        if run.announced:
            self._begin_run(turn, run.id, run.model)

    def end(self, run: RunState, error: BaseException | None) -> None:
        """See `Tracing.end`."""
        with self._lock:
            turn = self._turns.pop(run.id, None)
        if turn is not None:
            self._end(turn, None if error is None else type(error).__name__)

    def request(self, run: RunState, request: ModelCall, *, streamed: bool) -> AbstractContextManager[object]:
        """See `Tracing.request`."""
        turn = self._turns.get(run.id)
        if turn is None:
            return _NOTHING
        if not turn.recording:
            return _Current(turn.context)
        if turn.call is not None:  # it was not settled: it is sent again, in another way
            turn.call.end()
            turn.call = None
        try:
            span = self._tracer.start_span(
                f"{names.CHAT} {request.model}",
                turn.context,
                SpanKind.CLIENT,
                attributes.of_request(
                    turn.conversation,
                    request,
                    run.attempt,
                    self._provider,
                    streamed=streamed,
                    latest=self._latest,
                ),
            )
        except Exception:
            _logger.exception("a request of the run %s is not traced", run.id)
            return _Current(turn.context)
        turn.call, turn.call_context = span, trace.set_span_in_context(span, turn.context)
        return _Current(turn.call_context)

    def tools(self, run: RunState) -> Around:
        """See `Tracing.tools`."""
        return lambda calls: _Tools(self, run.id, calls)

    def headers(self) -> Mapping[str, str]:
        """See `Tracing.headers`."""
        carrier: dict[str, str] = {}
        try:
            propagate.inject(carrier)
        except Exception:
            _logger.exception("a request does not tell of its trace")
        return carrier

    # Spans

    def begin_tools(self, run_id: str, calls: Sequence[ToolCall]) -> Context | None:
        """Begin the spans of tool calls that are answered now; return the context to answer them in."""
        turn = self._turns.get(run_id)
        if turn is None:
            return None
        context = turn.context
        if turn.recording:
            for call in calls:
                at = time.time_ns()
                try:
                    span = self._tool_span(turn, call.name, call.id, at)
                except Exception:
                    _logger.exception("a tool call of the run %s is not traced", run_id)
                    continue
                open_tools = turn.tools
                if open_tools is None:  # the turn is over, and this begins too late
                    span.end()
                    continue
                earlier = open_tools.pop(call.id, None)
                if earlier is not None:
                    earlier[0].end()
                open_tools[call.id] = span, at
                if turn.tools is None and open_tools.pop(call.id, None) is not None:  # it ended in between
                    span.end()
                if len(calls) == 1:
                    context = trace.set_span_in_context(span, context)
        return context

    def _begin_run(self, turn: _Turn, run_id: str, model: str) -> None:
        turn.model = model
        if not turn.recording:
            return
        name = names.INVOKE_AGENT if turn.agent is None else f"{names.INVOKE_AGENT} {turn.agent}"
        provider = None if self._latest else self._provider
        of_run = attributes.of_run_begun(turn.conversation, run_id, model, turn.agent, provider)
        span = self._tracer.start_span(name, turn.context, SpanKind.INTERNAL, of_run)
        turn.open.append((span, trace.set_span_in_context(span, turn.context)))

    def _tool_span(self, turn: _Turn, tool: str, call_id: str, at: int) -> Span:
        links = None if turn.asked is None else [turn.asked]
        name = f"{names.EXECUTE_TOOL} {tool}"
        return self._tracer.start_span(
            name, turn.context, SpanKind.INTERNAL, attributes.of_tool(tool, call_id), links, at
        )

    def _end(self, turn: _Turn, error: str | None) -> None:
        """End everything of a turn that is still open."""
        with self._lock:
            if self._by_thread.get(turn.key) is turn:
                del self._by_thread[turn.key]
        tools, turn.tools = turn.tools or {}, None
        spans = [span for span, _ in tools.values()]
        if turn.call is not None:
            spans.append(turn.call)
            turn.call = None
        spans += [span for span, _ in reversed(turn.open)]
        for span in spans:
            if error is not None and error not in _LEFT:
                _fail(span, error)
            span.end()


class _Current:
    """Makes a context the current one, in this thread or task, for as long as it is entered."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = otel_context.attach(self._context)

    def __exit__(self, *error: object) -> None:
        otel_context.detach(self._token)


class _Tools:
    """What tool calls are answered inside of: their spans begin here, and end when it is told what came of them."""

    __slots__ = ("_calls", "_run_id", "_sink", "_token")

    def __init__(self, sink: OpenTelemetrySink, run_id: str, calls: Sequence[ToolCall]) -> None:
        self._sink = sink
        self._run_id = run_id
        self._calls = calls

    def __enter__(self) -> None:
        context = self._sink.begin_tools(self._run_id, self._calls)
        self._token = None if context is None else otel_context.attach(context)

    def __exit__(self, *error: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)


def _told_otherwise(event: Event) -> None:
    """A span's own attributes, or other spans, tell this."""


def _fail(span: Span, error: str) -> None:
    span.set_attribute(names.ERROR_TYPE, error)
    span.set_status(_ERROR)
