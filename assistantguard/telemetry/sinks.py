"""Handing one event to several sinks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from assistantguard.events import Event

if TYPE_CHECKING:
    from assistantguard.telemetry.tracing import Tracing

__all__ = ["Sink", "fan_out", "tracing_of"]

Sink = Callable[[Event], None]

_logger = logging.getLogger("assistantguard")


def fan_out(sinks: Sequence[Sink]) -> Sink:
    """One sink that feeds all of `sinks`. A sink that raises is logged with its traceback and does not end a run."""
    if len(sinks) == 1:
        only = sinks[0]

        def emit_one(event: Event) -> None:
            try:
                only(event)
            except Exception:
                _logger.exception("the telemetry sink %r failed on %s", only, event.name)

        return emit_one

    def emit(event: Event) -> None:
        for sink in sinks:
            try:
                sink(event)
            except Exception:
                _logger.exception("the telemetry sink %r failed on %s", sink, event.name)

    return emit


def tracing_of(sinks: Sequence[Sink]) -> Tracing | None:
    """The sink that traces, too; None where there is none. See `telemetry.tracing`.

    Raises:
        ConfigurationError: There is more than one.
    """
    able = [sink for sink in sinks if hasattr(sink, "propagates")]
    if not able:
        return None
    from assistantguard.telemetry.tracing import only_one

    return only_one(able)
