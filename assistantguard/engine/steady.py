"""Unpaid calls to the server (conversations, items, stores), under the same retry policy as the paid ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from assistantguard.engine.failing import error_of
from assistantguard.events import RunRetried
from assistantguard.models import RunState
from assistantguard.policies import Retry, View

if TYPE_CHECKING:
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

    async def call(self, thread: ThreadState, operation: Callable[[], Awaitable[T]], run: RunState | None = None) -> T:
        """Do `operation`, again after transient failures and lost connections as the policies allow.

        Raises:
            RunFailed: It failed for good.
        """
        stand_in = run or RunState(
            "", thread.id, self.session.assistant.model, started_at=self.driver.now(), deadline=None
        )
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
                now = self.driver.now()
                view = View(
                    now,
                    self.session.id,
                    thread,
                    stand_in.model,
                    replace(stand_in, attempt=attempt),
                    failure=failure,
                )
                ruling = self.session.policies.rule("on_failure", view) if failure.kind == "transient" else None
                retry = ruling.decision if ruling is not None else None
                late = (
                    isinstance(retry, Retry) and stand_in.deadline is not None and now + retry.wait >= stand_in.deadline
                )
                if ruling is None or not isinstance(retry, Retry) or late:
                    raise error_of(failure, attempt) from error
                if run is not None:
                    run.retries += 1
                self.session.emit(
                    RunRetried(
                        now,
                        self.session.id,
                        thread.id,
                        stand_in.id,
                        stand_in.model,
                        attempt,
                        failure.kind,
                        retry.wait,
                        ruling.policy,
                        retry.reason,
                        failure.code,
                        failure.status_code,
                        failure.request_id,
                    )
                )
                await self.driver.sleep(retry.wait)
