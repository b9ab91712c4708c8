"""Where events go. A sink is any callable that takes one `Event`; it must not block and must not raise."""

from __future__ import annotations

from assistantguard.telemetry.jsonl import JsonLinesSink
from assistantguard.telemetry.logs import StructlogSink
from assistantguard.telemetry.sinks import Sink, fan_out, tracing_of
from assistantguard.telemetry.totals import Totals

__all__ = ["JsonLinesSink", "Sink", "StructlogSink", "Totals", "fan_out", "tracing_of"]
