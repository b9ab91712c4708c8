"""Users and their threads, for both colours: who may have which, and who drives it now.

Everything here is a coroutine over the engine's driver, as the engine itself is.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from assistantguard._wanted import Wanted
from assistantguard.engine.input import message_text
from assistantguard.errors import ConfigurationError, RunTimedOut, ThreadNotFound
from assistantguard.models import Reply, ReplyReady, StreamEvent, ThreadState
from assistantguard.storage.threads import ThreadInfo

if TYPE_CHECKING:
    from assistantguard.engine import Engine
    from assistantguard.engine.lending import Lending
    from assistantguard.policies.topics import TopicCheck
    from assistantguard.storage.leases import Leases

__all__ = ["Place", "ThreadBook", "Turns"]

Message = str | list[dict[str, Any]]
T = TypeVar("T")
_PAGE = 500


class Turns(Protocol):
    """A lock whose waiters get it in the order they came, in one colour."""

    async def take(self, seconds: float | None) -> bool:
        """Wait for the lock, for `seconds` at most; return whether it was taken."""
        ...

    def release(self) -> None:
        """Hand it to the next waiter."""
        ...


class Place:
    """One thread as this process has it: its turns, and the state in which it was last seen."""

    def __init__(self, state: ThreadState, turns: Turns, *, begun: bool, remember: int) -> None:
        self.id = state.id
        self.user = state.user
        self.state = state
        self.turns = turns
        self.begun = begun
        """Whether the store has it; else its first use puts it there."""
        self.said: deque[str] = deque(maxlen=remember)
        """The last messages and replies, for the topic check."""

    def see(self, state: ThreadState) -> None:
        """Note the state that the store has."""
        self.state, self.begun = state, True


class ThreadBook:
    """Finds threads, has their turns made one after another, and changes what is known of them.

    Args:
        engine: What drives a turn.
        lending: Opens threads for it.
        leases: The threads that this process drives now.
        most: How many named threads in use a user may have.
        topic_check: When to suggest a new thread; None never does.
        new_turns: Makes a lock of this colour.
    """

    def __init__(
        self,
        engine: Engine,
        lending: Lending,
        leases: Leases,
        most: int | None,
        topic_check: TopicCheck | None,
        new_turns: Callable[[], Turns],
    ) -> None:
        self.engine = engine
        self.driver = engine.driver
        self._lending = lending
        self.leases = leases
        self.store = leases.store
        self.most = most
        self.prepare: Callable[[], Awaitable[None]] | None = None
        """What is to be done before a thread is first used, where there is anything."""
        self._topic_check = topic_check
        self._new_turns = new_turns
        self._places: WeakValueDictionary[tuple[str | None, str], Place] = WeakValueDictionary()
        self._lock = threading.Lock()

    @property
    def at_once(self) -> bool:
        """Whether threads are found without waiting for anything."""
        return self.store.in_process

    # Finding

    async def find(self, wanted: Wanted) -> Place:
        """The thread that is asked for, made where there is none.

        Raises:
            ThreadNotFound: The user has no thread of that id.
            TooManyThreads: A new one would be one too many.
            ConfigurationError: The thread is another tenant's.
        """
        fresh = self._fresh(wanted)
        if wanted.user is None:
            return await self._own(wanted, fresh)
        thread_id = wanted.thread_id
        if thread_id is not None:
            state = await self.ask(lambda: self.store.state(thread_id, wanted.user))
        elif wanted.name is not None:
            state = await self.ask(lambda: self.store.get_or_create(fresh, self.most))
        else:
            state = await self.ask(lambda: self.store.current(fresh))
        if wanted.tenant is not None and state.tenant != wanted.tenant:
            raise ConfigurationError(
                f"the tenant is {wanted.tenant!r}, and the user {wanted.user!r} has this thread for"
                f" {state.tenant!r}: user names must differ between tenants, put the tenant's name before them"
            )
        return self._place(state, begun=True)

    async def _own(self, wanted: Wanted, fresh: ThreadState) -> Place:
        """A thread of the application's own, by an id of its choice or a new one."""
        if wanted.thread_id is None:
            return self._place(fresh, begun=False)
        with self._lock:
            place = self._places.get((None, fresh.id))
        if place is not None:
            return place
        try:
            state = await self.ask(lambda: self.store.state(fresh.id, None))
        except ThreadNotFound:
            return self._place(fresh, begun=False)
        return self._place(state, begun=True)

    def later(self, wanted: Wanted) -> Place | None:
        """The thread that is asked for, where nobody need be asked for it before it is used."""
        if self.at_once or wanted.user is not None:
            return None
        fresh = self._fresh(wanted)
        with self._lock:
            place = self._places.get((None, fresh.id))
        return place or self._place(fresh, begun=False)

    def _fresh(self, wanted: Wanted) -> ThreadState:
        now = self.driver.now()
        state = ThreadState(wanted.thread_id or f"thread_{uuid.uuid4().hex}", created_at=now, last_used_at=now)
        state.user, state.tenant, state.name, state.tags = wanted.user, wanted.tenant, wanted.name, wanted.tags
        if wanted.conversation_id is not None:
            state.generation, state.generation_id = 1, wanted.conversation_id
            state.generation_started_at = now
            state.suspect = state.adopted = True
        return state

    def _place(self, state: ThreadState, *, begun: bool) -> Place:
        remember = 1 if self._topic_check is None else self._topic_check.remember
        with self._lock:
            place = self._places.get((state.user, state.id))
            if place is None:
                place = Place(state, self._new_turns(), begun=begun, remember=remember)
                self._places[state.user, state.id] = place
            return place

    # Driving

    async def turn(self, place: Place, message: Message, end: float | None, key: str | None) -> Reply:
        """Answer a message. See `stream`."""
        async with aclosing(self.stream(place, message, end, key, in_pieces=False)) as events:
            async for event in events:
                if isinstance(event, ReplyReady):
                    return event.reply
        raise AssertionError("a turn ended without a reply or an error")

    async def stream(
        self, place: Place, message: Message, end: float | None, key: str | None, *, in_pieces: bool = True
    ) -> AsyncGenerator[StreamEvent, None]:
        """Answer a message and tell what happens; the turns before this one go first.

        Args:
            place: Whose turn it is.
            message: The user's message.
            end: Unix time at which the turn must have ended.
            key: The caller's name for the turn.
            in_pieces: Whether the server is asked for text as it arises.
        """
        await self._take(place, end)
        try:
            if self.prepare is not None:
                await self.prepare()
            suggestion = self._suggestion(place, message)
            fresh = None if place.begun else lambda: place.state
            events = self._lending.stream(
                place.id, place.user, message, end, key, fresh=fresh, seen=place.see, in_pieces=in_pieces
            )
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, ReplyReady) and self._topic_check is not None:
                        place.said += (message_text(message), event.reply.text)
                        yield ReplyReady(replace(event.reply, suggestion=suggestion))
                    else:
                        yield event
        finally:
            place.turns.release()

    async def use(self, place: Place, work: Callable[[ThreadState], Awaitable[T]]) -> T:
        """Do something else with a thread; the turns before it go first."""
        await self._take(place, None)
        try:
            if self.prepare is not None:
                await self.prepare()
            fresh = None if place.begun else lambda: place.state
            return await self._lending.use(place.id, place.user, work, fresh=fresh, seen=place.see)
        finally:
            place.turns.release()

    async def heal(self, place: Place) -> bool:
        """See `GuardedThread.heal`."""
        return await self.use(place, self.engine.upkeep.heal)

    async def attach_files(self, place: Place, file_ids: Sequence[str]) -> str:
        """See `GuardedThread.attach_files`."""
        return await self.use(place, lambda thread: self.engine.files.attach(thread, file_ids))

    async def recover(self) -> int:
        """See `AssistantGuard.recover`."""
        if self.prepare is not None:
            await self.prepare()
        return await self._lending.recover()

    async def _take(self, place: Place, end: float | None) -> None:
        seconds = None if end is None else max(0.0, end - self.driver.now())
        if not await place.turns.take(seconds):
            error = RunTimedOut(
                f"the turn's deadline passed while it waited for earlier turns of the thread {place.id}: nothing was"
                " sent; allow more time, or send fewer messages at once"
            )
            error.policy, error.thread_id = "deadline", place.id
            raise error

    def _suggestion(self, place: Place, message: Message) -> Any:
        """``"new_thread"`` where the message leaves the topic, which an event tells too."""
        if self._topic_check is None or not self._topic_check.leaves(message_text(message), tuple(place.said)):
            return None
        from assistantguard.events import ThreadSuggested

        session = self.engine.session
        session.emit(ThreadSuggested(self.driver.now(), session.id, place.id, len(place.said), place.user))
        return "new_thread"

    def changed(self, info: ThreadInfo) -> ThreadInfo:
        """What is known of a thread here is what the store has."""
        with self._lock:
            place = self._places.get((info.user, info.id))
        if place is not None:
            state = place.state
            state.name, state.tags, state.archived_at = info.name, info.tags, info.archived_at
        return info

    async def use_all(
        self, infos: Sequence[ThreadInfo], work: Callable[[Mapping[str, ThreadState]], Awaitable[T]]
    ) -> T:
        """Do something with several threads, which everybody takes in one order."""
        order = sorted(infos, key=lambda each: each.id)

        async def take(number: int, states: Mapping[str, ThreadState]) -> T:
            if number == len(order):
                return await work(states)
            info = order[number]
            place = self._place(await self.ask(lambda: self.store.state(info.id, info.user)), begun=True)
            return await self.use(place, lambda state: take(number + 1, {**states, info.id: state}))

        return await take(0, {})

    async def ask(self, work: Callable[[], T]) -> T:
        """Ask the store."""
        return await self.driver.blocking(work, at_once=self.store.in_process)
