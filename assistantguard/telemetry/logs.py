"""Events as log lines."""

from __future__ import annotations

import logging
import sys
from typing import Any

from assistantguard.events import Event, Level

__all__ = ["StructlogSink"]

_LEVELS: dict[Level, int] = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


class StructlogSink:
    """Logs events under the name ``assistantguard``.

    They go through structlog where the application has configured it, and through the standard library's logging
    where it has not, so that a library never prints unasked. Routine events are
    ``debug``, settled runs and rotations ``info``, retries, stops and refusals ``warning``.
    """

    def __init__(self, name: str = "assistantguard") -> None:
        self._name = name
        self._standard = logging.getLogger(name)
        self._logger: Any = None

    def __call__(self, event: Event) -> None:
        """Write one event."""
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured():
            if self._logger is None:
                self._logger = structlog.get_logger(self._name)
            logger = self._logger.bind()
            is_enabled = getattr(type(logger), "is_enabled_for", None)  # not every kind of logger knows its level
            if is_enabled is None or is_enabled(logger, _LEVELS[event.level]):
                record = event.record()
                getattr(logger, event.level)(record.pop("event"), **record)
            return
        level = _LEVELS[event.level]
        if self._standard.isEnabledFor(level):
            record = event.record()
            name = record.pop("event")
            self._standard.log(level, "%s %s", name, " ".join(f"{key}={value}" for key, value in record.items()))
