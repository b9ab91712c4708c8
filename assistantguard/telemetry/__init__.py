"""Where events go. A sink is any callable that takes one `Event`; it must not block and must not raise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.telemetry.logs import StructlogSink
from assistantguard.telemetry.sinks import Sink, fan_out, tracing_of
from assistantguard.telemetry.totals import Totals

if TYPE_CHECKING:
    from assistantguard.telemetry.jsonl import JsonLinesSink

__all__ = ["JsonLinesSink", "Sink", "StructlogSink", "Totals", "fan_out", "tracing_of"]


def __getattr__(name: str) -> Any:
    """What not every application needs is imported when it is first used."""
    if name != "JsonLinesSink":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from assistantguard.telemetry.jsonl import JsonLinesSink

    return JsonLinesSink
