"""What follows from an attempt that failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from assistantguard.engine.failing import error_of, is_lock, note, timed_out
from assistantguard.engine.healing import mark_of
from assistantguard.errors import RunFailed

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.exchange import Outcome
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.recovery import Recovery
    from assistantguard.engine.routing import Routing
    from assistantguard.engine.session import Session
    from assistantguard.models import Failure, RunState, ThreadState

__all__ = ["Attempts"]

_MENDS_PER_RUN = 3


class Attempts:
    """Decides whether a request is tried again, and makes the thread ready for it."""

    def __init__(
        self, session: Session, driver: Driver, asking: Asking, recovery: Recovery, routing: Routing | None
    ) -> None:
        self._session = session
        self._driver = driver
        self._asking = asking
        self._recovery = recovery
        self._routing = routing

    async def after_failure(self, thread: ThreadState, run: RunState, outcome: Outcome, failure: Failure) -> None:
        """An attempt failed: mend the thread, try again, or give up."""
        run.last_error = failure.code or failure.kind
        error = error_of(failure, run.attempt)
        if outcome.answer is not None:
            thread.suspect, thread.unsettled = True, [mark_of(item) for item in run.input]
            try:
                await self._recovery.repair(thread, run, thread.unsettled, "an attempt failed")
            except RunFailed as trouble:
                note(error, f"healing the thread {thread.id} failed, its next turn tries again: {trouble}")
                raise error from trouble
            thread.suspect, thread.unsettled = False, []
        if failure.mend is not None and run.mends < _MENDS_PER_RUN:
            await self._recovery.mend(thread, run, failure)
            self._asking.report_retry(thread, run, failure, 0.0, "healing", failure.mend)
            run.mends += 1
            run.retries += 1
            run.attempt += 1
            run.status = "queued"
            return
        if failure.kind == "ambiguous":
            # Its outcome was looked for and not found. It is looked for once more before anything is sent again.
            if run.deadline is not None and self._driver.now() >= run.deadline:
                raise timed_out(run, self._session.run_timeout) from outcome.error
            run.doubtful = [mark_of(item) for item in (*thread.backlog, *run.input)]
            failure = replace(failure, kind="transient")
        if failure.kind != "transient":
            raise error from outcome.error
        elsewhere = None
        if self._routing is not None and not run.doubtful and not is_lock(failure):
            elsewhere = await self._routing.elsewhere(thread, run, failure)
        wait = self._asking.retry(thread, run, failure, elsewhere=elsewhere is not None)
        if wait is None:
            if not is_lock(failure):
                raise error from outcome.error
            if not thread.locked or run.steps:
                thread.locked = True
                raise error from outcome.error
            await self._recovery.leave_locked(thread, run)
            wait = 0.0
            self._asking.report_retry(thread, run, failure, wait, "healing", "new_generation")
        if self._routing is not None and elsewhere is not None:
            self._routing.go(thread, run, elsewhere)
        run.retries += 1
        run.attempt += 1
        run.retry_at = self._driver.now() + wait
        run.status = "queued"
