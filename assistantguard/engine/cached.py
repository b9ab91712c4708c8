"""Turns that are answered out of a cache of replies, and turns whose replies are put there.

Nothing in here fails a turn for the cache's sake: what goes wrong with it is told in an event, and the turn goes on.
What is done to the conversation and the books is done as for any other turn, and fails as there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from assistantguard.engine.questions import Asked, Questions, look
from assistantguard.engine.reply_lookup import ReplyLookup
from assistantguard.engine.serving import Serving
from assistantguard.errors import ConfigurationError, Refused
from assistantguard.models.cached import CachedReply
from assistantguard.replies.flights import Flights
from assistantguard.replies.keys import context_after, context_of
from assistantguard.replies.opening import cache_in, open_store

if TYPE_CHECKING:
    from assistantguard.engine.admission import Admission
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.exchange import Outcome
    from assistantguard.engine.rotation import Rotation
    from assistantguard.engine.steady import Steady
    from assistantguard.models import RunState, ThreadState
    from assistantguard.models.cached import ReplyStore
    from assistantguard.policies.reply_cache import ReplyCache

__all__ = ["Cached"]

_CLAIM_SECONDS = 60.0
"""How long others wait for one who asks, if nothing more is heard of it."""
_FAILED_LEADERS = 2
"""After so many who asked in vain, one who waited goes on by itself: they would all wait one after the other."""
_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1
_UNCLAIMED: tuple[bool, CachedReply | None] = (True, None)
"""What a claim comes to where the store is out of order."""


class Cached:
    """Answers turns out of a cache, and fills it. One serves all threads of an engine.

    Args:
        asking: The policies.
        steady: Unpaid calls.
        rotation: Begins conversations.
        admission: Says why a message does not fit a budget.

    Raises:
        ConfigurationError: There is more than one cache, or its store cannot be had.
    """

    def __init__(self, asking: Asking, steady: Steady, rotation: Rotation, admission: Admission) -> None:
        self._session = session = asking.session
        self._driver = asking.driver
        self._asking = asking
        self._rotation = rotation
        self._serving = Serving(asking, steady, rotation, admission)
        found = cache_in(session.policies.policies)
        assert found is not None
        self._policy, self._observed = found
        self._store = open_store(self._policy.store, session.ledger)
        self._alone = self._policy.store == "memory"
        """Whether nobody else has the store, so that flights are all there is to wait for."""
        self._flights = Flights()
        self._asked: dict[str, Asked] = {}
        """By run."""
        self._lookup = ReplyLookup(session, asking.driver, self._policy, self._store)
        self._questions = Questions(asking, self._policy)
        rotation.context_of = context_of

    @property
    def policy(self) -> ReplyCache:
        """Its settings."""
        return self._policy

    @property
    def store(self) -> ReplyStore:
        """Where the replies are."""
        return self._store

    @property
    def is_observed(self) -> bool:
        """Whether nothing is answered out of it."""
        return self._observed

    async def answer(self, thread: ThreadState, run: RunState) -> bool:
        """Answer a run's message where the cache can; the run is completed then, but for what follows any turn.

        Else the run goes on, and its thread has a conversation.

        Raises:
            Refused: A budget has no message left.
            RunFailed: It is not known whether the message was added to the conversation.
            RunTimedOut: The run's deadline has passed.
        """
        asked = self._question(thread, run)
        if asked is not None:
            self._asked[run.id] = asked
            found = await self._found(asked, run)
            if found is not None and found[0].text and await self._serve(thread, run, asked, *found):
                return True
        if thread.generation_id is None:
            await self._rotation.begin(thread, run)
        if asked is not None:
            asked.generation = thread.generation
        thread.context_digest = None
        return False

    def saw(self, run: RunState, outcome: Outcome | None) -> None:
        """Note what came of a request of a run."""
        asked = self._asked.get(run.id)
        if asked is None or outcome is None:
            return
        asked.requests += 1
        failure, answer = outcome.failure, outcome.answer
        if failure is not None:
            asked.doubt = asked.doubt or answer is not None or failure.status_code is None
            asked.doubt = asked.doubt or failure.kind in {"ambiguous", "structural"}
        elif answer is not None:
            plain, refuses = look(answer, self._session.tools)
            asked.plain = asked.plain and plain
            asked.refused = asked.refused or refuses

    def conclude(self, thread: ThreadState, run: RunState) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Note what the conversation holds after a run that has ended well, and tell those who wait for its reply.

        Returns:
            What is left to do with the store once the turn is saved, or could not be; None for nothing.
        """
        asked = self._asked.pop(run.id, None)
        if asked is None:
            return None
        if run.cached:
            thread.context_digest = context_after(asked.context, asked.question, run.text)
            return None
        certain = run.status == "completed" and bool(run.text) and thread.generation == asked.generation
        certain = certain and not (asked.doubt or asked.refused or run.mends or thread.strays)
        plain = asked.plain and not run.steps
        if certain and plain:
            thread.context_digest = context_after(asked.context, asked.question, run.text)
        kept = certain and (plain or self._policy.tools) and len(run.text) <= self._policy.max_characters
        # What another model said, or one that had to do without its tools, is not what this question asks for.
        chosen = run.model, run.reasoning_effort, run.service_tier
        kept = kept and not run.wrapping_up and asked.chosen == chosen
        if not (kept or asked.flight is not None or asked.claimed):
            return None
        reply = self._reply(thread, run, asked, kept=kept)
        if self._alone:  # before others stop waiting for it
            self._store.put(reply, self._policy.max_entries)
            self._ending(asked, reply)
            self._lookup.stored(reply, run.id)
            return None
        release = self._ending(asked, reply)
        return lambda: self._keep(reply, run.id, release)

    async def _keep(self, reply: CachedReply, run_id: str, release: Callable[[], None] | None) -> None:
        store, most = self._store, self._policy.max_entries

        def keep() -> bool:
            store.put(reply, most)
            if release is not None:
                release()
            return True

        if await self._lookup.do("put", False, keep):
            self._lookup.stored(reply, run_id)

    async def give_up(self, thread: ThreadState, run: RunState, cause: BaseException) -> None:
        """A run did not end well: somebody else may ask. Where nothing was sent, the conversation is what it was."""
        asked = self._asked.pop(run.id, None)
        if asked is None:
            return
        unsent = isinstance(cause, (Refused, ConfigurationError)) and not (asked.requests or asked.doubt)
        if unsent and not run.retries and thread.generation == asked.generation and not thread.suspect:
            thread.context_digest = asked.context
        await self._release(asked)

    async def leave(self, run: RunState) -> None:
        """A run waits for its caller's tools, for as long as that takes: somebody else may ask."""
        asked = self._asked.pop(run.id, None)
        if asked is not None:
            await self._release(asked)

    async def _release(self, asked: Asked) -> None:
        end = self._ending(asked)
        if end is not None:
            await self._lookup.do("release", None, end)

    async def forget(self, thread_id: str) -> None:
        """Delete the replies that were given on a thread."""
        await self._lookup.do("forget", 0, self._store.forget, thread_id)

    def close(self) -> None:
        """Close the store's connections. May block."""
        self._store.close()

    def _question(self, thread: ThreadState, run: RunState) -> Asked | None:
        """The question of a run; None where it has no part in the cache."""
        try:
            return self._questions.of(thread, run)
        except Exception as error:  # noqa: BLE001 - a user's function, or a setting that is no JSON
            self._lookup.failed("ask", error)
            return None

    async def _found(self, asked: Asked, run: RunState) -> tuple[CachedReply, str] | None:
        """A reply, and how it was found. Where there is none, the caller asks, and others may wait for it."""
        shares = self._policy.single_flight and not self._observed
        now = self._driver.now()
        if self._alone and shares:
            flight, leads = self._flights.join(asked.key, now, now + _CLAIM_SECONDS)
            reply = self._store.get(asked.key, now)
            if leads:
                asked.flight = flight
        else:
            reply = await self._lookup.do("get", None, self._lookup.get, asked, now)
        how = "exact"
        if reply is None:
            reply, how = await self._lookup.similar(asked), "similar"
        if reply is None and shares and asked.flight is None:
            reply, how = await self._wait(asked, run), "shared"
        if reply is None:
            return None
        release = self._ending(asked, reply)
        if release is not None:
            await self._lookup.do("release", None, release)
        return reply, how

    async def _wait(self, asked: Asked, run: RunState) -> CachedReply | None:
        """Wait for the one who asks the same already; None where the caller is to ask."""
        now, pause = self._driver.now(), _FIRST_PAUSE
        deadline = float("inf") if run.deadline is None else run.deadline
        leaders = 0
        flight, leads = self._flights.join(asked.key, now, now + _CLAIM_SECONDS)
        while not leads:
            while not flight.ended and (now := self._driver.now()) < min(flight.until, deadline):
                await self._driver.sleep(min(pause, max(0.0, deadline - now)))
                pause = min(1.5 * pause, _LONGEST_PAUSE)
            if flight.reply is not None or self._driver.now() >= deadline:
                return flight.reply
            leaders += 1
            if leaders >= _FAILED_LEADERS:
                return None
            now = self._driver.now()
            flight, leads = self._flights.join(asked.key, now, now + _CLAIM_SECONDS)
        asked.flight = flight
        while True:
            now = self._driver.now()
            flight.until = now + _CLAIM_SECONDS
            if self._alone:
                return self._store.get(asked.key, now)
            claimed, reply = await self._lookup.do("claim", _UNCLAIMED, self._claim, asked, now, flight.until)
            if reply is not None or claimed or self._driver.now() >= deadline:
                return reply
            await self._driver.sleep(min(pause, max(0.0, deadline - now)))
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    def _claim(self, asked: Asked, now: float, until: float) -> tuple[bool, CachedReply | None]:
        """Claim a question; look whether another was quicker since the store was looked at."""
        store = self._store
        claimed = store.claim(asked.key, asked.owner, now, until)
        if claimed:
            asked.claimed = True
            if asked.over:  # it was cancelled meanwhile, and a thread ends what it does
                store.release(asked.key, asked.owner)
                return claimed, None
        return claimed, self._lookup.get(asked, now)

    async def _serve(self, thread: ThreadState, run: RunState, asked: Asked, reply: CachedReply, how: Any) -> bool:
        """Make a cached reply the turn's; return False where the conversation does not take it."""
        now = self._driver.now()
        if self._observed:
            view = self._asking.view(thread, run, "", run.model)
            self._asking.report(view, self._policy.name, "before_turn", "answer", "the reply is in the cache")
            return False
        if not await self._serving.serve(thread, run, asked.content, reply):
            asked.doubt = True
            return False
        self._lookup.answered(thread, run, reply, how, now)
        return True

    def _reply(self, thread: ThreadState, run: RunState, asked: Asked, *, kept: bool) -> CachedReply:
        """What is kept of a turn; a reply that is not is kept as empty for as long as somebody may wait for it."""
        now, policy = self._driver.now(), self._policy
        cost = None if run.cost is None or asked.cost is None else run.cost - asked.cost
        return CachedReply(
            asked.key,
            asked.group,
            thread.id,
            run.text if kept else "",
            run.model,
            run.usage - asked.usage if asked.usage.requests else run.usage,
            cost,
            now,
            now + (policy.lifetime if kept else min(policy.lifetime, _CLAIM_SECONDS)),
            (asked.text or "") if kept and policy.similar is not None else "",
        )

    def _ending(self, asked: Asked, reply: CachedReply | None = None) -> Callable[[], None] | None:
        """End what others wait for, in this process at once; what is left is to be done with the store."""
        asked.over = True
        if asked.flight is not None:
            self._flights.end(asked.key, asked.flight, reply)
            asked.flight = None
        if not asked.claimed:
            return None
        asked.claimed = False
        return lambda: self._store.release(asked.key, asked.owner)
