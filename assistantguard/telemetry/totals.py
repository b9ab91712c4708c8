"""The running totals of a session, counted from its events."""

from __future__ import annotations

import threading
from decimal import Decimal

from assistantguard.events import (
    Event,
    RequestSettled,
    RunCancelled,
    RunRetried,
    RunSettled,
    UsageCorrected,
)
from assistantguard.models.usage import Usage

__all__ = ["Totals"]


class Totals:
    """A sink that counts. Safe to feed from several threads.

    Attributes:
        run_count: Runs that ended, whatever they ended in.
        cancelled_runs: Runs that the guard or the caller ended.
        retried_runs: Runs that needed at least one retry.
        retries: Retries over all runs.
        rotations: Generations that were left.
        usage: All paid calls together.
        cost: US dollars, or None once any call had no known price.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._retried: set[str] = set()
        self.run_count = 0
        self.cancelled_runs = 0
        self.retried_runs = 0
        self.retries = 0
        self.rotations = 0
        self.usage = Usage()
        self.cost: Decimal | None = Decimal(0)

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            if isinstance(event, RequestSettled):
                self.usage += event.usage
                self.cost = None if self.cost is None or event.cost is None else self.cost + event.cost
            elif isinstance(event, UsageCorrected):
                self.usage += event.usage - event.before
                if self.cost is None or event.cost is None or event.before_cost is None:
                    self.cost = None
                else:
                    self.cost += event.cost - event.before_cost
            elif isinstance(event, RunSettled):
                self.run_count += 1
                self._retried.discard(event.run_id)
            elif isinstance(event, RunRetried) and event.run_id:
                self.retries += 1
                if event.run_id not in self._retried:
                    self._retried.add(event.run_id)
                    self.retried_runs += 1
            elif isinstance(event, RunCancelled):
                self.cancelled_runs += 1
            elif event.name == "thread.rotated":
                self.rotations += 1
