"""What is done to threads outside a turn: healed, made one of two, and deleted at the server."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from assistantguard.errors import RunFailed
from assistantguard.models import RunState
from assistantguard.policies import Rotate, ThreadRotation

if TYPE_CHECKING:
    from assistantguard.engine.books import Books
    from assistantguard.engine.exchanges import Exchanges
    from assistantguard.engine.files import Files
    from assistantguard.engine.recovery import Recovery
    from assistantguard.engine.steady import Steady
    from assistantguard.models import ThreadState

__all__ = ["LATE_TIMEOUT", "Upkeep"]

LATE_TIMEOUT = 5.0
"""Seconds that asking for late usage may hold a turn up."""

_GONE = 404


class Upkeep:
    """Heals threads, merges them, and deletes what they had at the server."""

    def __init__(self, steady: Steady, books: Books, recovery: Recovery, files: Files, exchanges: Exchanges) -> None:
        self._steady = steady
        self._books = books
        self._recovery = recovery
        self._files = files
        self._exchanges = exchanges

    async def heal(self, thread: ThreadState) -> bool:
        """Make a thread usable that someone else may have broken; see `GuardedThread.heal`.

        Returns:
            Whether anything was done.
        """
        if thread.generation_id is None:
            return False
        now = self._steady.driver.now()
        stand_in = RunState("", thread.id, self._steady.session.assistant.model, started_at=now)
        stand_in.deadline = now + self._steady.session.run_timeout
        if thread.at_work is not None:
            await self.leave_or_end(thread, stand_in)
        if thread.locked:
            await self._recovery.leave_locked(thread, stand_in)
            return True
        if thread.late:
            await self._books.ask_late(thread, LATE_TIMEOUT)
        done = bool(thread.strays) and await self._recovery.remove_strays(thread, stand_in, thread.last_item_id)
        done = await self._recovery.heal_or_leave(thread, stand_in, "healing was asked for", whole=True) or done
        if thread.backlog:
            try:
                await self._recovery.hand_over(thread, stand_in)
            except BaseException:  # it may have got through: the next turn looks first
                thread.suspect = True
                raise
            done = True
        return done

    async def leave_or_end(self, thread: ThreadState, run: RunState) -> None:
        """Cancel an answer that could not be cancelled before; where it still cannot, leave the conversation to it."""
        left = self._exchanges.time_left(run)
        await self._exchanges.end_left_over(thread, self._steady.driver.now() + min(LATE_TIMEOUT, left / 5))
        if thread.at_work is not None:
            await self._recovery.rotate(thread, run, Rotate("an answer could not be cancelled"), "healing")

    async def merge(self, thread: ThreadState, other: ThreadState) -> None:
        """Take another thread's carry-over into a new generation of `thread`, ahead of its own.

        What both used is added up, and the files of both are searchable. The other thread stays as it is.

        Raises:
            RunFailed: The server refused.
            RunTimedOut: It took longer than a run may.
            VectorStoreFailed: The files of both could not be made searchable together.
        """
        session, now = self._steady.session, self._steady.driver.now()
        run = RunState(f"run_{uuid.uuid4().hex}", thread.id, session.assistant.model, started_at=now)
        run.status, run.deadline = "in_progress", now + session.run_timeout
        try:
            if set(other.file_ids) - set(thread.file_ids):
                await self._files.attach(thread, other.file_ids)
            if other.generation_id is not None:
                await self._recovery.rotate(thread, run, self._terms(other), "merge", other=other)
        except BaseException as error:
            run.status, run.last_error = "failed", type(error).__name__
            raise
        else:
            run.status = "completed"
            self._add_up(thread, other)
        finally:
            run.finished_at = self._steady.driver.now()
            await self._steady.driver.protect(self._books.save(thread, run))

    async def delete_generations(
        self, thread: ThreadState, generation_ids: Sequence[str], *, scrub: bool
    ) -> tuple[list[str], list[str]]:
        """Delete conversations at the server, their items too if `scrub`.

        Returns:
            Those that are gone now, and those that could not be deleted.
        """
        gone: list[str] = []
        left: list[str] = []
        for generation_id in generation_ids:
            deleted = await self._delete(thread, generation_id, scrub=scrub)
            (gone if deleted else left).append(generation_id)
        return gone, left

    async def delete_vector_store(self, thread: ThreadState, vector_store_id: str) -> bool:
        """Delete a vector store at the server, its files not; return whether it is gone now."""
        backend = self._steady.backend
        try:
            await self._steady.call(thread, lambda timeout: backend.delete_vector_store(vector_store_id, timeout))
        except RunFailed as error:
            return error.failure is not None and error.failure.status_code == _GONE
        return True

    async def _delete(self, thread: ThreadState, generation_id: str, *, scrub: bool) -> bool:
        backend = self._steady.backend
        try:
            await self._steady.call(
                thread, lambda timeout: backend.delete_generation(generation_id, scrub=scrub, timeout=timeout)
            )
        except RunFailed as error:
            return error.failure is not None and error.failure.status_code == _GONE
        return True

    def _terms(self, other: ThreadState) -> Rotate:
        """What to carry, and what becomes of the old conversation: as the guard's rotation has it."""
        reason = f"the thread {other.id} is merged into it"
        for policy in self._steady.session.policies.policies:
            if isinstance(policy, ThreadRotation):
                return Rotate(reason, policy.carry_over, policy.old)
        return Rotate(reason)

    def _add_up(self, thread: ThreadState, other: ThreadState) -> None:
        thread.turns += other.turns
        thread.usage += other.usage
        thread.cost = None if thread.cost is None or other.cost is None else thread.cost + other.cost
        thread.late += other.late
        thread.last_used_at = max(thread.last_used_at, other.last_used_at)
