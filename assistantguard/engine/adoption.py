"""Taking a run over from a process that died."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.engine.exchanges import take_in
from assistantguard.engine.failing import stopped
from assistantguard.engine.input import output_item
from assistantguard.errors import RunStopped
from assistantguard.models import ToolOutput

if TYPE_CHECKING:
    from assistantguard.engine.exchanges import Exchanges
    from assistantguard.engine.turn import Engine
    from assistantguard.models import RunState, ThreadState

__all__ = ["Adoption"]

_MAY_HAVE_RUN = "The program that ran this was interrupted: it is not known whether it was done."
_TAIL = 100
_LOOK_TIMEOUT = 30.0


class Adoption:
    """Takes runs over."""

    def __init__(self, engine: Engine, exchanges: Exchanges) -> None:
        self._engine = engine
        self._exchanges = exchanges

    async def adopt(self, thread: ThreadState, run: RunState, *, go_on: bool, parks: bool) -> None:
        """See `Engine.adopt`."""
        session, driver = self._engine.session, self._engine.driver
        run.deadline = driver.now() + session.run_timeout
        sent = run.in_flight
        outcome = await self._exchanges.take_over(thread, run, driver.now() + session.cleanup_timeout)
        answer = None if outcome is None else outcome.answer
        if outcome is not None and answer is not None and answer.status == "completed" and outcome.failure is None:
            take_in(thread, run, answer, outcome)
            if not answer.tool_calls:
                run.status, run.answer_item_id = "completed", thread.last_item_id
                self._engine.finish(thread, run, None)
                await self._engine.save(thread, run)
                return
            if parks:
                run.tool_calls, run.status = answer.tool_calls, "requires_action"
                run.steps += 1
                run.calls += len(answer.tool_calls)
                await self._engine.save(thread, run)
                return
            run.input = [output_item(ToolOutput(call.id, _MAY_HAVE_RUN, failed=True)) for call in answer.tool_calls]
            if go_on:
                run.steps += 1
                run.calls += len(answer.tool_calls)
                run.status = "queued"
                return
        elif go_on and run.answers and sent is not None:
            run.doubtful, run.status = sent.marks, "queued"
            return
        elif sent is not None and sent.purpose != "summary" and sent.generation_id == thread.generation_id:
            thread.suspect = True
            thread.unsettled += sent.marks
            run.doubtful = sent.marks
        await self._engine.abandon(thread, run, stopped(RunStopped, "recovery", "the process that drove it is gone"))

    async def text_of(self, thread: ThreadState, run: RunState) -> str | None:
        """What a completed run said, asked of the server; None where it has it no more."""
        backend = self._engine.backend
        said: str | None = None
        if run.response_ids:
            try:
                answer = await backend.look_up(run.response_ids[-1], _LOOK_TIMEOUT)
            except Exception as error:
                if backend.classify(error) is None:
                    raise
            else:
                # One that asked for tools came before the answer, whose id was never told.
                said = None if answer.tool_calls else answer.text
        if said or run.answer_item_id is None or thread.generation_id is None:
            return said
        items = await backend.history(thread.generation_id, _LOOK_TIMEOUT, limit=_TAIL)
        return next((item.text for item in items if item.id == run.answer_item_id), said)
