"""What the OpenTelemetry SDK takes by itself for the spans and the measurements of a turn: nothing of ours is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics import MeterProvider as RecordingMeters
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, Span

from assistantguard import AssistantGuard, OpenTelemetrySink
from benchmarks._sides import assistant
from benchmarks.canned import CannedServer

__all__ = ["Recorded"]


@dataclass(frozen=True)
class _Measurement:
    """Values that one instrument was given with one set of attributes, each their mean."""

    name: str
    unit: str
    bounds: tuple[float, ...] | None
    """Of a histogram; None for a counter."""
    value: float
    times: int
    attributes: dict[str, Any]


class Recorded:
    """The spans and measurements of a guard's turn, to be made again without the guard."""

    def __init__(self, server: CannedServer, message: str) -> None:
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers, meters = TracerProvider(), RecordingMeters([reader])
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        with AssistantGuard(server.client(), assistant(), sinks=[OpenTelemetrySink(tracers, meters)]) as bot:
            bot.thread().chat(message)
        spans = exporter.get_finished_spans()
        self.spans = len(spans)
        ends = [(span.end_time or 0, 1, -(span.start_time or 0), span) for span in spans]
        begins = [(span.start_time or 0, 0, 0, span) for span in spans]
        self._steps = [(kind == 0, span) for _, kind, _, span in sorted(begins + ends, key=lambda step: step[:3])]
        requests = sum(span.kind is trace.SpanKind.CLIENT for span in spans)
        self._measurements = _measurements(reader, requests)
        self.measurements = sum(each.times for each in self._measurements)
        tracers.shutdown()
        meters.shutdown()

    def on(self, tracers: TracerProvider, meters: MeterProvider) -> Callable[[], None]:
        """What makes them once more with these providers."""
        tracer, meter = tracers.get_tracer("alone"), meters.get_meter("alone")
        recorders: dict[str, Callable[..., None]] = {}
        for each in self._measurements:
            if each.name in recorders:
                continue
            if each.bounds is None:
                recorders[each.name] = meter.create_counter(each.name, each.unit).add
                continue
            histogram: Histogram = meter.create_histogram(
                each.name, each.unit, explicit_bucket_boundaries_advisory=each.bounds
            )
            recorders[each.name] = histogram.record

        def make() -> None:
            open_spans: dict[int, tuple[Span, Any]] = {}
            for begins, recorded in self._steps:
                number = recorded.get_span_context().span_id  # type: ignore[union-attr]
                if begins:
                    open_spans[number] = _begin(tracer, recorded)
                else:
                    span, token = open_spans[number]
                    otel_context.detach(token)
                    span.end()
            for each in self._measurements:
                record = recorders[each.name]
                for _ in range(each.times):
                    record(each.value, each.attributes)

        return make


def _begin(tracer: trace.Tracer, recorded: ReadableSpan) -> tuple[Span, Any]:
    context = otel_context.get_current()
    links = [Link(trace.get_current_span(context).get_span_context()) for _ in recorded.links]
    span = tracer.start_span(recorded.name, context, recorded.kind, recorded.attributes, links)
    return span, otel_context.attach(trace.set_span_in_context(span, context))


def _measurements(reader: InMemoryMetricReader, requests: int) -> list[_Measurement]:
    found: list[_Measurement] = []
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = dict(point.attributes or {})
                    if isinstance(point, HistogramDataPoint):
                        bounds, mean, times = tuple(point.explicit_bounds), point.sum / point.count, point.count
                    elif isinstance(point, NumberDataPoint):
                        bounds, mean, times = None, point.value // requests, requests
                    else:
                        raise TypeError(f"{metric.name} is measured with {type(point).__name__}, which is not known")
                    found.append(_Measurement(metric.name, metric.unit or "", bounds, mean, times, attributes))
    return found
