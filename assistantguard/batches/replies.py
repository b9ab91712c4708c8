"""The cache of replies, for the jobs of one batch: hits are done at once, and the same question is sent once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.engine.asking import Asking
from assistantguard.engine.questions import Questions, look
from assistantguard.engine.reply_lookup import ReplyLookup
from assistantguard.engine.serving import Booking
from assistantguard.models.cached import CachedReply

if TYPE_CHECKING:
    from assistantguard.batches.jobs import Planned
    from assistantguard.batches.state import JobRecord
    from assistantguard.engine.admission import Admission
    from assistantguard.engine.cached import Cached
    from assistantguard.engine.ports import Driver, ModelAnswer
    from assistantguard.engine.questions import Asked
    from assistantguard.engine.session import Session
    from assistantguard.models import RunState, ThreadState
    from assistantguard.models.assistant import Assistant

__all__ = ["JobReplies"]

_MOST_SETTINGS = 100
"""Of jobs that are asked otherwise than the assistant asks, so many ways are remembered."""


class JobReplies:
    """Answers jobs out of a cache, and fills it.

    Only jobs that are one message, asked as the assistant asks, have a part in it. What is being answered elsewhere is
    not waited for: a batch may take a day.

    Args:
        cached: The guard's.
        guard: The guard's session, by whose settings questions are the same.
        asking: The batch's policies.
        admission: The batch's.
    """

    def __init__(self, cached: Cached, guard: Session, asking: Asking, admission: Admission) -> None:
        self._policy, self._store, self._observed = cached.policy, cached.store, cached.is_observed
        self._guard = guard
        self._asking = asking
        self._driver: Driver = asking.driver
        self._booking = Booking(asking, admission)
        self._questions: dict[tuple[str, int | None], Questions] = {}
        """By what jobs may say otherwise than the assistant."""
        self._under_way: set[str] = set()
        """Questions whose answer others of the batch wait for."""
        self._over: set[str] = set()
        """Questions that were answered, or not: nobody waits for them again."""
        self._waiting: dict[int, str] = {}
        """Questions of jobs that wait, by their positions."""
        self._lookup = ReplyLookup(guard, asking.driver, self._policy, self._store)

    async def answer(
        self, job: Planned, thread: ThreadState, run: RunState
    ) -> tuple[Literal["answered", "waits", "asks"], str]:
        """Answer a job where the cache can.

        Returns:
            Whether it was ``"answered"``, and with what; ``"waits"`` for another job that asks the same; ``"asks"`` is
            to be sent.

        Raises:
            Refused: A budget has no message left.
        """
        asked = self._asked(job, thread, run)
        if asked is None:
            return "asks", ""
        found = await self._find(asked)
        if self._observed:
            if found is not None:
                view = self._asking.view(thread, run, "", run.model)
                self._asking.report(view, self._policy.name, "before_turn", "answer", "the reply is in the cache")
            return "asks", ""
        if found is not None:
            reply, how = found
            await self._booking.book(thread, run, reply)
            self._lookup.answered(thread, run, reply, how, self._driver.now())
            return "answered", reply.text
        if asked.key not in self._under_way:
            return "asks", ""
        self._waiting[job.position] = asked.key
        return "waits", ""

    def waits(self, position: int) -> bool:
        """Whether a job waits for another one that is not done yet."""
        return self._waiting.get(position) in self._under_way

    def leads(self, job: Planned, thread: ThreadState, run: RunState) -> None:
        """A job is sent: others that ask the same may wait for its answer."""
        if not self._policy.single_flight or self._observed:
            return
        asked = self._asked(job, thread, run)
        if asked is not None and asked.key not in self._over:
            self._under_way.add(asked.key)

    async def conclude(
        self, job: Planned, record: JobRecord, thread: ThreadState, run: RunState, answer: ModelAnswer | None
    ) -> None:
        """A job has ended: keep what was answered, where the policy wants it, and let those go on who wait for it."""
        asked = self._asked(job, thread, run)
        if asked is None:
            return
        if asked.key in self._under_way:
            self._under_way.remove(asked.key)
            if record.stage != "waiting":
                self._over.add(asked.key)
        policy, now = self._policy, self._driver.now()
        if answer is None or record.stage != "completed" or not 0 < len(answer.text) <= policy.max_characters:
            return
        plain, refuses = look(answer, self._guard.tools)
        if refuses or not (policy.tools or plain):
            return
        question = asked.text or "" if policy.similar is not None else ""
        reply = CachedReply(
            asked.key,
            asked.group,
            thread.id,
            answer.text,
            run.model,
            record.usage,
            record.cost,
            now,
            now + policy.lifetime,
            question,
        )
        if await self._lookup.do("put", False, self._put, reply):
            self._lookup.stored(reply, run.id)

    async def text(self, job: Planned, thread: ThreadState, run: RunState) -> str | None:
        """What a job was answered with that the cache answered before; None where it has it no more."""
        asked = self._asked(job, thread, run)
        found = None if asked is None else await self._find(asked)
        return None if found is None else found[0].text

    def _put(self, reply: CachedReply) -> bool:
        self._store.put(reply, self._policy.max_entries)
        return True

    def _asked(self, job: Planned, thread: ThreadState, run: RunState) -> Asked | None:
        """The question of a job; None where it has no part in the cache."""
        if job.job.body is not None:
            return None
        given = job.job.input
        items: Sequence[Mapping[str, Any]] = [{"role": "user", "content": given}] if isinstance(given, str) else given
        run = replace(run, input=[dict(item) for item in items], service_tier=None)
        try:
            return self._questions_for(job).of(thread, run)
        except Exception as error:  # noqa: BLE001 - a user's function, or a setting that is no JSON
            self._lookup.failed("ask", error)
            return None

    def _questions_for(self, job: Planned) -> Questions:
        """By the settings with which a conversation would ask the same."""
        own: Assistant = self._guard.assistant
        instructions = own.instructions if job.job.instructions is None else job.job.instructions
        most = own.max_output_tokens if job.job.max_output_tokens is None else job.job.max_output_tokens
        found = self._questions.get((instructions, most))
        if found is None:
            assistant = replace(own, instructions=instructions, max_output_tokens=most)
            same = instructions == own.instructions and most == own.max_output_tokens
            session = self._guard if same else replace(self._guard, assistant=assistant)
            if len(self._questions) >= _MOST_SETTINGS:
                self._questions.clear()
            found = self._questions[instructions, most] = Questions(Asking(session, self._driver), self._policy)
        return found

    async def _find(self, asked: Asked) -> tuple[CachedReply, Literal["exact", "similar"]] | None:
        """A reply that is kept, and how it was found."""
        lookup, now = self._lookup, self._driver.now()
        reply = await lookup.do("get", None, lookup.get, asked, now)
        if reply is not None and reply.text:
            return reply, "exact"
        reply = await lookup.similar(asked)
        return (reply, "similar") if reply is not None and reply.text else None
