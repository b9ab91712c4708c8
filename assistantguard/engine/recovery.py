"""Making a thread usable after a failure: mending it for another attempt, and leaving it whole when a run ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from assistantguard import events, tokens
from assistantguard.engine.admission import framing
from assistantguard.engine.failing import error_of, is_lock
from assistantguard.engine.healing import Repair, mark_of, plan_repair, strays_in_tail
from assistantguard.engine.input import output_item
from assistantguard.errors import OutcomeUnknown, RunFailed
from assistantguard.models import Failure, Item, RunState, ThreadState, ToolOutput
from assistantguard.policies import Rotate

if TYPE_CHECKING:
    from assistantguard.engine.files import Files
    from assistantguard.engine.rotation import Rotation
    from assistantguard.engine.steady import Steady

__all__ = ["NOT_RUN", "Recovery"]

NOT_RUN = "Not run: the limit of tool calls for this request is reached. Answer with what you have."

_TAIL = 100
"""How many of the newest items are read to heal a conversation: the most that one page holds."""
_CALL_TIMEOUT = 30.0
_READINGS = 3
"""How often a conversation is read again where it is not known whether outputs got through."""
_OUTPUTS_AT_ONCE = 20
"""What one call takes, so that outputs are handed over whole or stay in the backlog."""

T = TypeVar("T")


class _Call(Protocol):
    """Makes a call of the server within its limits."""

    async def __call__(self, operation: Callable[[float], Awaitable[T]], *, repeatable: bool = True) -> T: ...


class Recovery:
    """Heals threads."""

    def __init__(self, steady: Steady, rotation: Rotation, files: Files) -> None:
        self._steady = steady
        self._rotation = rotation
        self._files = files

    async def mend(self, thread: ThreadState, run: RunState, failure: Failure) -> None:
        """Heal what the server complained of, so that another attempt makes sense."""
        if failure.mend == "answer_calls":
            if run.doubtful:  # it may have come late: before the next attempt it is looked for, and all is repaired
                return
            if thread.strays and await self.remove_strays(
                thread, run, thread.last_item_id, seed_items=thread.seed_items
            ):
                return
            await self.repair(thread, run, [], "a function call had no output", whole=run.mends > 0)
        elif failure.mend == "vector_store":
            await self._files.keep_alive(thread, run, gone=True)
        else:
            gone = failure.status_code == 404
            reason = "the conversation is gone" if gone else failure.code or "the conversation cannot be continued"
            if run.steps:
                # The tool outputs belong to calls that only the old generation knows; the turn cannot move.
                thread.suspect = True
                raise error_of(failure, run.attempt)
            await self._rotation.rotate(thread, run, Rotate(reason), "healing", readable=not gone)

    async def rotate(
        self, thread: ThreadState, run: RunState, decision: Rotate, policy: str, *, other: ThreadState | None = None
    ) -> None:
        """Rotate as a policy wants; a conversation that turns out to be gone is left without a carry-over.

        What `other` leaves, if it is given, goes ahead of what the thread leaves.
        """
        try:
            await self._rotation.rotate(thread, run, decision, policy, other=other)
        except RunFailed as error:
            if error.failure is None or error.failure.mend != "new_generation":
                raise
            reason = "the conversation is gone" if other is None else f"{decision.reason}, its own conversation is gone"
            await self._rotation.rotate(
                thread, run, replace(decision, reason=reason), policy, readable=False, other=other
            )

    async def leave_locked(self, thread: ThreadState, run: RunState) -> None:
        """Go on elsewhere, where for a second turn somebody does not let go of the conversation."""
        await self.rotate(thread, run, Rotate("somebody keeps the conversation locked", old="keep"), "healing")

    async def heal_or_leave(self, thread: ThreadState, run: RunState, reason: str, *, whole: bool = False) -> bool:
        """Repair a conversation, or leave it when it cannot be repaired; return whether anything was done."""
        done, thread.context_digest = True, None
        try:
            done = (await self.repair(thread, run, thread.unsettled, reason, whole=whole)).needed
        except RunFailed as error:
            if error.failure is None or (error.failure.kind == "transient" and not is_lock(error.failure)):
                raise
            if is_lock(error.failure):
                if not thread.locked:
                    thread.locked = True
                    raise
                await self.leave_locked(thread, run)
                return True
            gone = error.failure.mend == "new_generation" or error.failure.status_code == 404
            if gone and thread.adopted:
                raise  # a conversation that the application named and that never was
            await self._rotation.rotate(
                thread, run, Rotate("the conversation could not be healed"), "healing", readable=not gone
            )
        if not done:  # what was given up may still be at work, and come late
            thread.strays += thread.unsettled
        thread.suspect, thread.unsettled = False, []
        return done

    async def remove_strays(
        self, thread: ThreadState, run: RunState, settled: str | None, *, own: int = 0, seed_items: int | None = None
    ) -> bool:
        """Remove what attempts that were given up added to the conversation late; return whether there was any.

        See `strays_in_tail` for the arguments.
        """
        steady, backend, generation_id = self._steady, self._steady.backend, thread.generation_id
        assert generation_id is not None
        thread.context_digest = None
        try:
            items = await steady.call(thread, lambda timeout: backend.history(generation_id, timeout, limit=_TAIL), run)
            strays = strays_in_tail(
                items, settled, thread.strays, own=own, seed_items=seed_items if len(items) < _TAIL else None
            )
            if strays:
                await steady.call(thread, lambda timeout: backend.delete_items(generation_id, strays, timeout), run)
        except RunFailed:  # it may wait: the answer that was given stands, and the next turn looks again
            return False
        if strays:
            reason = "an attempt that was given up came late"
            self._report(thread, generation_id, Repair(strays, left_behind=len(strays)), reason)
            thread.strays = []
        return bool(strays)

    async def repair(
        self,
        thread: ThreadState,
        run: RunState,
        unsettled: Sequence[str],
        reason: str,
        *,
        until: float | None = None,
        whole: bool = False,
    ) -> Repair:
        """Read the conversation's tail, delete what an attempt left behind, answer open calls.

        Args:
            thread: Whose conversation it is.
            run: The run that it happens in.
            unsettled: Marks of the input items of the attempt that did not end well.
            reason: For the event.
            until: Unix time at which to give up, with nothing tried again; None tries transient failures again.
            whole: Read the whole conversation and not only its tail.

        Returns:
            What was done.

        Raises:
            RunFailed: The server refused.
        """
        backend, generation_id = self._steady.backend, thread.generation_id
        assert generation_id is not None
        call = self._caller(thread, run, until)
        repair = Repair()
        for attempt in range(1, _READINGS + 1):
            items = await call(lambda timeout: backend.history(generation_id, timeout, limit=None if whole else _TAIL))
            repair = self._plan(thread, run, items, unsettled)
            if repair.delete:
                await call(lambda timeout, ids=repair.delete: backend.delete_items(generation_id, ids, timeout))  # type: ignore[misc]
            if repair.newest_kept is not None:
                thread.last_item_id = repair.newest_kept
            try:
                if repair.answer:
                    await self._answer(thread, repair, call)
            except OutcomeUnknown:  # they may have got through: read what stands there now
                if attempt == _READINGS:
                    raise
                continue
            break
        if repair.needed:
            thread.context_digest = None
            self._report(thread, generation_id, repair, reason)
        return repair

    def _caller(self, thread: ThreadState, run: RunState, until: float | None) -> _Call:
        """What makes calls for a run: once, and until `until`; where that is None, again after transient failures."""

        async def call(operation: Callable[[float], Awaitable[T]], *, repeatable: bool = True) -> T:
            if until is None:
                return await self._steady.call(thread, operation, run, repeatable=repeatable)
            return await operation(self._left(until))

        return call

    def _plan(self, thread: ThreadState, run: RunState, items: Sequence[Item], unsettled: Sequence[str]) -> Repair:
        """What makes the conversation usable whose newest items these are."""
        if thread.adopted:  # what it holds was not counted by anyone yet
            held = [tokens.estimate(item.text, run.model) + framing(1) for item in items]
            thread.context_tokens = sum(one.tokens for one in held)
            thread.context_at_most = sum(one.at_most for one in held)
        there = {item.call_id for item in items if item.type == "function_call_output"}
        thread.backlog = [item for item in thread.backlog if item["call_id"] not in there]
        coming = [str(item["call_id"]) for item in [*thread.backlog, *run.input] if "call_id" in item]
        return plan_repair(
            items,
            unsettled,
            thread.last_item_id,
            seed_items=thread.seed_items if len(items) < _TAIL else None,
            expected_outputs=coming,
        )

    async def _answer(self, thread: ThreadState, repair: Repair, call: _Call) -> None:
        """Add the outputs that open calls get."""
        backend, generation_id = self._steady.backend, thread.generation_id
        assert generation_id is not None
        thread.last_item_id = await call(
            lambda timeout: backend.add_outputs(generation_id, repair.answer, timeout), repeatable=False
        )
        thread.context_at_most += 64 * len(repair.answer)

    def _left(self, until: float) -> float:
        left = until - self._steady.driver.now()
        if left <= 0:
            raise TimeoutError("there was no time left to heal the thread")
        return min(_CALL_TIMEOUT, left)

    def _report(self, thread: ThreadState, generation_id: str, repair: Repair, reason: str) -> None:
        self._steady.session.emit(
            events.ThreadHealed(
                self._steady.driver.now(),
                self._steady.session.id,
                thread.id,
                generation_id,
                len(repair.answer),
                len(repair.delete),
                reason,
            )
        )

    async def leave_usable(self, thread: ThreadState, run: RunState, until: float, *, unsure: bool) -> None:
        """Remove a half turn, hand over the outputs that exist, and answer the calls that have none.

        What could not be handed over waits in the thread's backlog, and goes ahead of its next request. With `unsure`
        the server may still be at work: where nothing of the attempt is found yet, the next turn looks again. It is
        given up at `until` (Unix time).
        """
        generation_id = thread.generation_id
        assert generation_id is not None
        backlog = [item for item in run.input if item.get("type") == "function_call_output"]
        answered = {item["call_id"] for item in backlog}
        backlog += [
            output_item(ToolOutput(call.id, NOT_RUN, failed=True)) for call in run.tool_calls if call.id not in answered
        ]
        thread.backlog += backlog
        unsettled, run.input, run.tool_calls = run.input, [], ()
        if thread.suspect:
            thread.unsettled += map(mark_of, unsettled)
            found = await self.repair(thread, run, thread.unsettled, "the run did not end well", until=until)
            if found.delete or not unsure:
                thread.suspect, thread.unsettled = False, []
        await self.hand_over(thread, run, until)

    async def hand_over(self, thread: ThreadState, run: RunState, until: float | None = None) -> None:
        """Give the server the tool outputs that wait in the backlog; see `repair` for the arguments.

        Raises:
            RunFailed: The server refused, where `until` is None.
        """
        backend, generation_id = self._steady.backend, thread.generation_id
        assert generation_id is not None
        call = self._caller(thread, run, until)
        while thread.backlog:
            thread.context_digest = None
            outputs = [ToolOutput(item["call_id"], item["output"]) for item in thread.backlog[:_OUTPUTS_AT_ONCE]]
            thread.last_item_id = await call(
                lambda timeout, outputs=outputs: backend.add_outputs(generation_id, outputs, timeout),  # type: ignore[misc]
                repeatable=False,
            )
            thread.backlog = thread.backlog[len(outputs) :]
            thread.context_at_most += sum(len(output.output.encode("utf-8", "replace")) + 16 for output in outputs)
            thread.context_tokens += sum(len(output.output) // 4 + 4 for output in outputs)
