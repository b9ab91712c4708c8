"""Calling the functions that budgets warn with, out of the turn's way."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from assistantguard import events
from assistantguard._threads import in_thread

if TYPE_CHECKING:
    from assistantguard.events import BudgetWarned, Event
    from assistantguard.policies import PolicySet

__all__ = ["Alerts"]

_LAST_WAIT = 5.0
"""Seconds that closing waits for functions that were called."""
_logger = logging.getLogger("assistantguard")


class Alerts:
    """A sink that calls the `on_warning` of the budget that an event tells of, in a daemon thread.

    What it raises is logged. Close it so that the last ones are not lost; the interpreter's exit closes it too.
    """

    def __init__(self, policies: PolicySet) -> None:
        self._calls: dict[tuple[str, str], Callable[[BudgetWarned], object]] = {
            (budget.name, metric): budget.on_warning
            for budget, observed in policies.budgets
            for metric in budget.limits
            if budget.on_warning is not None and not observed
        }
        self._pending: set[Future[None]] = set()

    def __call__(self, event: Event) -> None:
        """Call what is to be called; return at once."""
        if not self._calls or not isinstance(event, events.BudgetWarned):
            return
        on_warning = self._calls.get((event.budget, event.metric))
        if on_warning is not None:
            self._call(on_warning, event)

    def close(self) -> None:
        """Wait a few seconds for functions that are still at work. May be called twice."""
        pending = list(self._pending)
        if pending:
            from concurrent.futures import wait

            wait(pending, _LAST_WAIT)
        atexit.unregister(self.close)

    def _call(self, on_warning: Callable[[BudgetWarned], object], event: BudgetWarned) -> None:
        atexit.unregister(self.close)
        atexit.register(self.close)

        def call() -> None:
            try:
                on_warning(event)
            except Exception:
                _logger.exception("the on_warning %r failed on budget %r", on_warning, event.budget)

        future = in_thread(call)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
