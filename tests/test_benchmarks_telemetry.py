"""The benchmark of the sinks prints what each of them adds."""

from __future__ import annotations

import json

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from benchmarks import telemetry
from benchmarks._telemetry_alone import Recorded
from benchmarks.canned import CannedServer
from benchmarks.overhead import MESSAGES


def test_it_prints_one_json_document_with_every_way_of_telling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(telemetry, "WARM_UP", 0)
    monkeypatch.setattr(telemetry, "BATCH", 2)
    telemetry.main(["--json", "--turns", "2"])
    document = json.loads(capsys.readouterr().out)
    assert document["turn_us"] > 0
    assert document["sdk_alone_us"] > 0
    assert set(document["aims_us"]) < set(document["adds_us"])
    assert {name for way in document["adds_us"] for name in way.split(" + ")} == {
        "structlog debug",
        "structlog info",
        "json lines",
        "opentelemetry",
        "opentelemetry unsampled",
    }


def test_the_sdk_by_itself_makes_the_spans_and_measurements_of_a_turn() -> None:
    recorded = Recorded(CannedServer(), MESSAGES["tool"])
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    make = recorded.on(tracers, meters)
    make()
    spans = {span.name.split()[0]: span for span in exporter.get_finished_spans()}
    assert recorded.spans == len(exporter.get_finished_spans()) == 5
    assert {"invoke_agent", "chat", "execute_tool"} < set(spans)
    chat, run = spans["chat"], spans["invoke_agent"]
    assert chat.parent is not None
    assert run.context is not None
    assert chat.parent.span_id == run.context.span_id
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        point
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
        if isinstance(point, HistogramDataPoint)
    ]
    assert sum(point.count for point in points) == 6
    assert recorded.measurements == 8
    tracers.shutdown()
    meters.shutdown()
