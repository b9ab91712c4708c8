"""Unpaid calls to the server (conversations, items, stores), under the same retry policy as the paid ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from assistantguard.engine.failing import error_of
from assistantguard.models import RunState

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import Backend, Driver
    from assistantguard.engine.session import Session
    from assistantguard.models import ThreadState

__all__ = ["Steady"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Steady:
    """Calls that may be repeated: nothing is billed, and doing them twice harms nothing."""

    session: Session
    driver: Driver
    backend: Backend
    asking: Asking

    async def call(self, thread: ThreadState, operation: Callable[[], Awaitable[T]], run: RunState | None = None) -> T:
        """Do `operation`, again after transient failures and lost connections as the policies allow.

        Raises:
            RunFailed: It failed for good.
        """
        stand_in = run or RunState("", thread.id, self.session.assistant.model, started_at=self.driver.now())
        attempt = 0
        while True:
            attempt += 1
            try:
                return await operation()
            except Exception as error:
                failure = self.backend.classify(error)
                if failure is None:
                    raise
                if failure.kind == "ambiguous":
                    failure = replace(failure, kind="transient")
                wait = None
                if failure.kind == "transient":
                    wait = self.asking.retry(thread, replace(stand_in, attempt=attempt), failure)
                if wait is None:
                    raise error_of(failure, attempt) from error
                if run is not None:
                    run.retries += 1
                await self.driver.sleep(wait)
