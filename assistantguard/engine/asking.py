"""Asking the policies: what they may see, and reporting what observed ones would have done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard.events import PolicyObserved
from assistantguard.models import RunState, ThreadState
from assistantguard.policies import Refuse, Ruling, View

if TYPE_CHECKING:
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.policies.ruling import Checkpoint

__all__ = ["Asking"]


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """Asks the session's policies."""

    session: Session
    driver: Driver

    def view(self, thread: ThreadState, run: RunState | None, message: str, model: str) -> View:
        """What policies may see at any checkpoint; the checkpoint's own fields are added by who asks."""
        session = self.session
        price = session.prices.price(model, session.assistant.service_tier)
        return View(self.driver.now(), session.id, thread, model, run, message, price)

    def rule(self, checkpoint: Checkpoint, view: View) -> Ruling:
        """Ask all policies at a checkpoint.

        Raises:
            Refused: One of them refuses.
        """
        ruling = self.session.policies.rule(checkpoint, view)
        for observation in ruling.observed:
            self.report(view, observation.policy, checkpoint, observation.decision.verb, observation.decision.reason)
        if isinstance(ruling.decision, Refuse):
            error = ruling.decision.error(f"{ruling.policy} refused: {ruling.decision.reason}")
            error.policy = ruling.policy
            raise error
        return ruling

    def report(self, view: View, policy: str, checkpoint: str, verb: str, reason: str) -> None:
        """Emit what an observed policy would have done."""
        run_id = None if view.run is None else view.run.id
        self.session.emit(
            PolicyObserved(view.now, self.session.id, view.thread.id, policy, checkpoint, verb, reason, run_id)
        )
