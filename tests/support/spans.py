"""OpenTelemetry's own SDK with everything kept in memory, and what is asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import StatusCode

from assistantguard import OpenTelemetrySink

__all__ = ["Spans", "attributes_of", "begun", "context_of", "failed", "over"]


class _Begun(SpanProcessor):
    """Counts the spans that were begun and not ended."""

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.open[span.name] += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.open[span.name] -= 1


class Spans:
    """Providers, exporter and reader of one test."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.tracers = TracerProvider(sampler=sampler) if sampler is not None else TracerProvider()
        self.exporter = InMemorySpanExporter()
        self._begun = _Begun()
        self.tracers.add_span_processor(self._begun)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("application")

    def sink(self, **options: Any) -> OpenTelemetrySink:
        return OpenTelemetrySink(self.tracers, self.meters, **options)

    @property
    def ended(self) -> list[ReadableSpan]:
        """The spans that ended, in that order."""
        return list(self.exporter.get_finished_spans())

    @property
    def open(self) -> list[str]:
        """The names of those that did not."""
        return sorted(self._begun.open.elements())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def parent(self, span: ReadableSpan) -> str | None:
        """The name of the span's parent; None for a root."""
        if span.parent is None:
            return None
        (parent,) = [each for each in self.ended if context_of(each).span_id == span.parent.span_id]
        assert context_of(parent).trace_id == context_of(span).trace_id
        assert begun(parent) <= begun(span)
        assert over(span) <= over(parent)
        return parent.name

    @property
    def metrics(self) -> dict[str, Metric]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def sums(self, name: str, by: str | None = None) -> dict[Any, Any]:
        """The sums of a metric's points, by the value of an attribute."""
        sums: Counter[Any] = Counter()
        for point in self.metrics[name].data.data_points:
            amount: Any = getattr(point, "sum", None) if hasattr(point, "sum") else getattr(point, "value", None)
            sums[None if by is None else attributes_of(point).get(by)] += amount
        return dict(sums)

    def count(self, name: str) -> int:
        """How often a histogram was recorded to."""
        return sum(getattr(point, "count", 0) for point in self.metrics[name].data.data_points)


def context_of(span: ReadableSpan) -> trace.SpanContext:
    context: trace.SpanContext | None = span.context
    assert context is not None
    return context


def begun(span: ReadableSpan) -> int:
    assert span.start_time is not None
    return span.start_time


def over(span: ReadableSpan) -> int:
    assert span.end_time is not None
    return span.end_time


def attributes_of(told: Any) -> Mapping[str, Any]:
    """The attributes of a span, an event or a metric's point."""
    return told.attributes or {}


def failed(span: ReadableSpan) -> str | None:
    """What the span tells as its error; None where it ended well."""
    error: str | None = attributes_of(span).get("error.type")
    assert (error is not None) == (span.status.status_code is StatusCode.ERROR)
    assert span.status.description is None
    return error
