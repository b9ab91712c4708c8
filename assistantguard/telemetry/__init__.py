"""Where events go. A sink is any callable that takes one `Event`; it must not block and must not raise."""

from __future__ import annotations

from assistantguard.telemetry.jsonl import JsonLinesSink
from assistantguard.telemetry.logs import StructlogSink
from assistantguard.telemetry.sinks import Sink, fan_out
from assistantguard.telemetry.totals import Totals
from assistantguard.telemetry.tracing import tracing_of

__all__ = ["JsonLinesSink", "Sink", "StructlogSink", "Totals", "fan_out", "tracing_of"]
