"""Unpaid calls to the server (conversations, items, stores), under the same retry policy as the paid ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from assistantguard.engine.failing import error_of, timed_out
from assistantguard.models import RunState

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import Backend, Driver
    from assistantguard.engine.session import Session
    from assistantguard.models import ThreadState

__all__ = ["Steady"]

_CALL_TIMEOUT = 30.0

T = TypeVar("T")


@dataclass(slots=True, eq=False, repr=False)
class Steady:
    """Calls that may be repeated: nothing is billed, and doing them twice harms nothing."""

    session: Session
    driver: Driver
    backend: Backend
    asking: Asking

    async def call(
        self,
        thread: ThreadState,
        operation: Callable[[float], Awaitable[T]],
        run: RunState | None = None,
        *,
        repeatable: bool = True,
    ) -> T:
        """Do `operation`, again after transient failures and lost connections as the policies allow.

        Args:
            thread: Whose call it is.
            operation: Makes the call; it is given the seconds that the call may take.
            run: The run it belongs to, whose deadline bounds it.
            repeatable: Whether doing it twice harms nothing. Else a lost connection is not tried again.

        Raises:
            RunTimedOut: The run's deadline has passed.
            OutcomeUnknown: The connection was lost, and it is not `repeatable`.
            RunFailed: It failed for good.
        """
        stand_in = run or RunState("", thread.id, self.session.assistant.model, started_at=self.driver.now())
        attempt = 0
        while True:
            attempt += 1
            try:
                return await operation(self.limit(run))
            except Exception as error:
                failure = self.backend.classify(error)
                if failure is None:
                    raise
                if failure.kind == "ambiguous" and repeatable:
                    failure = replace(failure, kind="transient")
                wait = None
                if failure.kind == "transient":
                    wait = self.asking.retry(thread, replace(stand_in, attempt=attempt), failure)
                if wait is None:
                    self.limit(run)
                    raise error_of(failure, attempt) from error
                if run is not None:
                    run.retries += 1
                await self.driver.sleep(wait)

    def limit(self, run: RunState | None) -> float:
        """Seconds that a call may take.

        Raises:
            RunTimedOut: The run's deadline has passed.
        """
        if run is None or run.deadline is None:
            return _CALL_TIMEOUT
        left = run.deadline - self.driver.now()
        if left <= 0:
            raise timed_out(run, self.session.run_timeout)
        return min(_CALL_TIMEOUT, left)
