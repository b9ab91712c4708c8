"""Asking the policies: what they may see, and reporting what observed ones would have done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from assistantguard.errors import Refused
from assistantguard.events import PolicyObserved, RunRetried
from assistantguard.models import Failure, RunState, ThreadState
from assistantguard.policies import Refuse, Retry, Ruling, View

if TYPE_CHECKING:
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.policies.ruling import Checkpoint

__all__ = ["Asking"]


@dataclass(slots=True, eq=False, repr=False)
class Asking:
    """Asks the session's policies."""

    session: Session
    driver: Driver

    def view(self, thread: ThreadState, run: RunState | None, message: str, model: str) -> View:
        """What policies may see at any checkpoint; the checkpoint's own fields are added by who asks."""
        session = self.session
        tier = session.tier_of(run)
        price = session.prices.price(model, tier)
        return View(self.driver.now(), session.id, thread, model, run, message, price, service_tier=tier)

    def rule(self, checkpoint: Checkpoint, view: View) -> Ruling:
        """Ask all policies at a checkpoint.

        Raises:
            Refused: One of them refuses.
            ConfigurationError: One of them cannot work with this thread.
        """
        ruling = self.session.policies.rule(checkpoint, view)
        for observation in ruling.observed:
            self.report(view, observation.policy, checkpoint, observation.decision.verb, observation.decision.reason)
        if isinstance(ruling.decision, Refuse):
            error = ruling.decision.error(f"{ruling.policy} refused: {ruling.decision.reason}")
            if isinstance(error, Refused):
                error.policy = ruling.policy
            raise error
        return ruling

    def retry(self, thread: ThreadState, run: RunState, failure: Failure, *, elsewhere: bool = False) -> float | None:
        """Ask whether a call whose attempt ``run.attempt`` failed transiently is tried again, and announce it.

        With `elsewhere` the next attempt goes to another model, which has asked for no wait.

        Returns:
            Seconds to wait before the next attempt; None where no policy wants one, or it would come too late.
        """
        asked = replace(failure, retry_after=None) if elsewhere else failure
        view = replace(self.view(thread, run, "", run.model), failure=asked)
        ruling = self.rule("on_failure", view)
        if not isinstance(ruling.decision, Retry):
            return None
        wait = 0.0 if elsewhere else ruling.decision.wait
        if run.deadline is not None and view.now + wait >= run.deadline:
            return None
        self.report_retry(thread, run, failure, wait, ruling.policy, ruling.decision.reason)
        return wait

    def report_retry(
        self, thread: ThreadState, run: RunState, failure: Failure, wait: float, policy: str, reason: str
    ) -> None:
        """Emit that attempt ``run.attempt`` failed and another follows."""
        self.session.emit(
            RunRetried(
                self.driver.now(),
                self.session.id,
                thread.id,
                run.id,
                run.model,
                run.attempt,
                failure.kind,
                wait,
                policy,
                reason,
                failure.code,
                failure.status_code,
                failure.request_id,
            )
        )

    def report(self, view: View, policy: str, checkpoint: str, verb: str, reason: str) -> None:
        """Emit what an observed policy would have done."""
        run_id = None if view.run is None else view.run.id
        self.session.emit(
            PolicyObserved(view.now, self.session.id, view.thread.id, policy, checkpoint, verb, reason, run_id)
        )
