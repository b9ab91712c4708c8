"""What the engine's parts do otherwise for jobs than for turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from assistantguard.batches.state import PROCESS
from assistantguard.dropin.admission import CallAdmission
from assistantguard.dropin.bodies import CallRequest
from assistantguard.engine.admission import Expectation
from assistantguard.engine.asking import Asking
from assistantguard.engine.pacing import Pacer
from assistantguard.engine.ports import ModelRequest, NoStates
from assistantguard.engine.steady import Steady

if TYPE_CHECKING:
    from assistantguard.batches.state import BatchState, JobRecord
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.models import RunState, ThreadState
    from assistantguard.pacing import Ask, Limits, NoRoom, Permit
    from assistantguard.policies import View
    from assistantguard.policies.pacing import Pace
    from assistantguard.policies.ruling import Checkpoint, PlacedCap, Ruling

__all__ = ["CALL_TIMEOUT", "JobAdmission", "JobAsking", "JobPacer", "JobStates", "JobSteady"]

CALL_TIMEOUT = 600.0
"""Seconds that one call may take; files may have 200 MB."""


class JobStates(NoStates):
    """Keeps how far a job is, in the transaction that holds or books what it uses."""

    in_process = False

    def __init__(self, state: BatchState) -> None:
        self._state = state
        self.at: dict[str, tuple[JobRecord, CallRequest]] = {}
        """Jobs that are being admitted or settled, by their runs."""

    def together(self) -> AbstractContextManager[Any]:
        """See `States.together`."""
        return self._state.together()

    def save(self, thread: ThreadState, run: RunState | None, *, last: bool = False) -> None:  # noqa: ARG002
        """See `States.save`."""
        assert run is not None
        record, request = self.at[run.id]
        record.usage, record.cost = run.usage, run.cost
        sent = run.in_flight
        if run.hold_id is not None and sent is not None:
            record.hold_id, record.process, record.held_at = run.hold_id, PROCESS, sent.sent_at
            record.input_tokens, record.input_at_most = sent.input_tokens, sent.input_at_most
            record.output_at_most, record.max_tool_calls = sent.output_at_most, request.max_tool_calls
        self._state.save(record)


class JobAsking(Asking):
    """Asks as for any request, but does not wait: what a job does not fit now is held by its own batch."""

    def rule(self, checkpoint: Checkpoint, view: View) -> Ruling:
        """See `Asking.rule`."""
        return replace(super().rule(checkpoint, view), busy_wait=0.0)


class JobAdmission(CallAdmission):
    """Can also hold again what books in memory lost with their process."""

    async def hold_again(
        self, view: View, caps: Sequence[PlacedCap], expectation: Expectation, record: JobRecord, model: str
    ) -> None:
        """Hold what a job may use that was sent already, whatever is left."""
        request = ModelRequest(model, None, "", [])
        claims = self._claims(view, caps, expectation.input, expectation.output_at_most, request, "run")
        for claim in claims:
            claim.limit = None
        assert record.hold_id is not None
        self._session.ledger.reserve(record.hold_id, claims, record.expires_at)


class JobPacer(Pacer):
    """Looks to other things while a job waits for its turn."""

    def __init__(self, session: Session, driver: Driver) -> None:
        super().__init__(session, driver)
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def _arrived(self, pace: Pace, ask: Ask, limits: Limits) -> Permit | float | NoRoom:
        if self.meanwhile is not None:
            await self.meanwhile()
        return await super()._arrived(pace, ask, limits)


class JobSteady(Steady):
    """Gives each call more time: files are large."""

    def limit(self, run: RunState | None) -> float:  # noqa: ARG002  of the base's shape
        """See `Steady.limit`."""
        return CALL_TIMEOUT
