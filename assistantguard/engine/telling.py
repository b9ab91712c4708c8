"""Telling the world what happens to a turn and its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard.events import RunCancelled, RunSettled, RunStarted, RunStep, ToolSettled, TurnStarted

if TYPE_CHECKING:
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.models import RunState, ThreadState, ToolCall, ToolOutput

__all__ = ["Telling"]


@dataclass(slots=True, eq=False, repr=False)
class Telling:
    """Emits the events of a turn. What ends a run is told only of one whose beginning was."""

    session: Session
    driver: Driver

    def started(self, thread: ThreadState, run: RunState) -> None:
        """A message was taken up, and a run begins."""
        now, session = self.driver.now(), self.session
        session.emit(
            TurnStarted(
                now,
                session.id,
                thread.id,
                thread.turns + 1,
                thread.generation,
                thread.generation_turns,
                thread.context_tokens,
            )
        )
        run.announced = True
        session.emit(RunStarted(now, session.id, thread.id, run.id, run.model))

    def step(self, thread: ThreadState, run: RunState, calls: Sequence[ToolCall]) -> None:
        """The model asks for tools, in the step after those that the run counts."""
        session, names = self.session, tuple(call.name for call in calls)
        session.emit(
            RunStep(self.driver.now(), session.id, thread.id, run.id, run.model, run.steps + 1, len(calls), names)
        )

    def tools_settled(self, thread: ThreadState, run: RunState, outputs: Sequence[ToolOutput]) -> None:
        """The pending calls of a run were answered."""
        session, now = self.session, self.driver.now()
        names = {call.id: call.name for call in run.tool_calls}
        for output in outputs:
            session.emit(
                ToolSettled(
                    now,
                    session.id,
                    thread.id,
                    run.id,
                    output.call_id,
                    names.get(output.call_id, ""),
                    output.seconds,
                    output.failed,
                    output.error_type,
                )
            )

    def cancelled(self, thread: ThreadState, run: RunState, policy: str, error: str) -> None:
        """The guard, or the caller, ended a run."""
        if not run.announced:
            return
        session, now = self.session, self.driver.now()
        session.emit(RunCancelled(now, session.id, thread.id, run.id, run.model, run.steps, run.calls, policy, error))

    def settled(self, thread: ThreadState, run: RunState, error: str | None) -> None:
        """A run has ended and is on the books."""
        if not run.announced:
            return
        session = self.session
        session.emit(
            RunSettled(
                run.finished_at or self.driver.now(),
                session.id,
                thread.id,
                run.id,
                run.model,
                run.status,
                run.steps,
                run.calls,
                run.retries,
                run.usage,
                run.cost,
                run.seconds,
                thread.context_tokens,
                thread.generation,
                error,
                run.incomplete_reason,
                thread.user,
                thread.fixed_tokens if thread.context_known else None,
            )
        )
