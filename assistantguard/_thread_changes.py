"""What users do with their threads beside talking, for both colours."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from assistantguard._wanted import MOST_TAGS, check_tags, check_thread, check_topic, check_user
from assistantguard.errors import ConfigurationError, ThreadNotFound
from assistantguard.models import ThreadState, Usage
from assistantguard.models.values import Value
from assistantguard.storage.records import is_archived, not_found
from assistantguard.storage.threads import ThreadFilter, ThreadInfo

if TYPE_CHECKING:
    from assistantguard._thread_book import ThreadBook

__all__ = ["DeletedThread", "ThreadChanges", "ThreadStatistics"]

T = TypeVar("T")
_PAGE = 500


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DeletedThread(Value):
    """What was deleted, and what of it could not be."""

    thread_id: str
    conversations: tuple[str, ...]
    """Ids of the conversations that are gone from the server."""
    left: tuple[str, ...]
    """Ids of those that could not be deleted now; they stay known, and a sweep finds them."""
    vector_store_id: str | None
    """The vector store that was deleted, or None."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ThreadStatistics(Value):
    """What one or several threads have come to."""

    threads: int
    turns: int
    usage: Usage
    cost: Decimal | None
    """US dollars, or None where a price is unknown."""
    context_tokens: int
    """How many tokens their next requests read before anything new is added."""
    last_used_at: float | None
    """Unix time, seconds; None where there is no thread."""


class ThreadChanges:
    """Lists threads and changes what is known of them.

    Args:
        book: Has the threads driven.
    """

    def __init__(self, book: ThreadBook) -> None:
        self._book = book
        self._store = book.store

    async def listed(self, wanted: ThreadFilter, after: str | None) -> list[ThreadInfo]:
        """Threads of a user, the one used last first."""
        if after is not None:
            last = await self.info(wanted.user, after)
            wanted = replace(wanted, after=(last.last_used_at, last.id))
        return list(await self._ask(lambda: self._store.select(wanted)))

    async def info(self, user: str | None, thread: str) -> ThreadInfo:
        """A thread of a user by its id, or else by its name.

        Raises:
            ThreadNotFound: He has none such.
        """
        check_user(user)
        word = check_thread(thread)
        try:
            return await self._ask(lambda: self._store.info(word, user))
        except ThreadNotFound:
            named = ThreadFilter(user, archived=None, name=unicodedata.normalize("NFC", word), limit=1)
            found = await self._ask(lambda: self._store.select(named))
            if not found:
                raise not_found(word, user) from None
            return found[0]

    async def statistics(self, user: str | None, thread: str | None) -> ThreadStatistics:
        """See `UserThreads.statistics`."""
        if thread is not None:
            return _added_up([await self.info(user, thread)])
        check_user(user)
        found: list[ThreadInfo] = []
        while True:
            after = (found[-1].last_used_at, found[-1].id) if found else None
            wanted = ThreadFilter(user, archived=None, limit=_PAGE, after=after)
            page = await self._ask(lambda wanted=wanted: self._store.select(wanted))  # type: ignore[misc]
            found += page
            if len(page) < _PAGE:
                return _added_up(found)

    async def rename(self, user: str | None, thread: str, name: str) -> ThreadInfo:
        """See `UserThreads.rename`."""
        checked, info = check_topic(name), await self.info(user, thread)
        return self._book.changed(await self._ask(lambda: self._store.rename(info.id, user, checked, self._book.most)))

    async def tag(self, user: str | None, thread: str, add: Collection[str], remove: Collection[str]) -> ThreadInfo:
        """See `UserThreads.tag`."""
        more, fewer, info = check_tags(add), check_tags(remove), await self.info(user, thread)
        count = len({*info.tags, *more}.difference(fewer))
        if count > MOST_TAGS:
            raise ConfigurationError(f"the thread would have {count} tags, it has at most {MOST_TAGS}: remove some")
        return self._book.changed(await self._ask(lambda: self._store.tag(info.id, user, more, fewer)))

    async def switch(self, user: str, thread: str) -> ThreadInfo:
        """See `UserThreads.switch`."""
        if user is None:
            raise ConfigurationError("the user is None: only a user has a current thread, name one")
        info = await self.info(user, thread)
        return await self._ask(lambda: self._store.switch(info.id, user))

    async def archive(self, user: str | None, thread: str) -> ThreadInfo:
        """See `UserThreads.archive`."""
        info, now = await self.info(user, thread), self._book.driver.now()
        return self._book.changed(await self._ask(lambda: self._store.archive(info.id, user, now)))

    async def restore(self, user: str | None, thread: str) -> ThreadInfo:
        """See `UserThreads.restore`."""
        info = await self.info(user, thread)
        return self._book.changed(await self._ask(lambda: self._store.restore(info.id, user, self._book.most)))

    async def delete(self, user: str | None, thread: str, *, scrub: bool, vector_store: bool) -> DeletedThread:
        """See `UserThreads.delete`."""
        info = await self.info(user, thread)

        async def work(states: Mapping[str, ThreadState]) -> DeletedThread:
            return await self._delete(info, states[info.id], scrub=scrub, vector_store=vector_store)

        return await self._book.use_all([info], work)

    async def merge(self, user: str | None, into: str, other: str) -> ThreadInfo:
        """See `UserThreads.merge`."""
        kept, gone = await self.info(user, into), await self.info(user, other)
        if kept.id == gone.id:
            raise ConfigurationError(f"the thread {kept.id!r} is to be merged with itself: name two threads")
        if kept.archived_at is not None:
            raise is_archived(kept.id)

        async def work(states: Mapping[str, ThreadState]) -> None:
            await self._book.engine.upkeep.merge(states[kept.id], states[gone.id])
            await self._ask(lambda: self._store.tag(kept.id, user, gone.tags))
            await self._delete(gone, states[gone.id], scrub=False, vector_store=False)

        await self._book.use_all([kept, gone], work)
        return self._book.changed(await self._ask(lambda: self._store.info(kept.id, user)))

    async def _delete(self, info: ThreadInfo, state: ThreadState, *, scrub: bool, vector_store: bool) -> DeletedThread:
        """Forget a thread that is open, then delete what it had at the server. What cannot be deleted stays known."""
        upkeep, store, leases = self._book.engine.upkeep, self._store, self._book.leases
        known = [record.id for record in await self._ask(lambda: store.generations(info.id))]
        if state.generation_id is not None and state.generation_id not in known:
            known.append(state.generation_id)
        now = self._book.driver.now()

        def forget() -> None:
            with store.together():
                if state.generation_id is not None:
                    store.generation_begun(info.id, state.generation_id, now)
                leases.delete(state)

        await self._ask(forget)
        if self._book.engine.cached is not None:
            await self._book.engine.cached.forget(info.id)
        deleted, left = await upkeep.delete_generations(state, known, scrub=scrub)
        if deleted:
            await self._ask(lambda: store.generation_deleted(deleted, self._book.driver.now()))
        store_gone = state.vector_store_id is not None and vector_store and await self._delete_store(state)
        return DeletedThread(info.id, tuple(deleted), tuple(left), state.vector_store_id if store_gone else None)

    async def _delete_store(self, state: ThreadState) -> bool:
        """Delete a deleted thread's vector store, where no other thread has it; return whether it is gone."""
        store, store_id = self._store, state.vector_store_id
        assert store_id is not None
        if await self._ask(lambda: list(store.vector_store_users(store_id))):
            return False
        if not await self._book.engine.upkeep.delete_vector_store(state, store_id):
            return False
        await self._ask(lambda: store.vector_store_gone(store_id))
        return True

    async def _ask(self, work: Callable[[], T]) -> T:
        return await self._book.ask(work)


def _added_up(infos: Sequence[ThreadInfo]) -> ThreadStatistics:
    costs = [info.cost for info in infos]
    known = [cost for cost in costs if cost is not None]
    return ThreadStatistics(
        len(infos),
        sum(info.turns for info in infos),
        sum((info.usage for info in infos), Usage()),
        sum(known, Decimal(0)) if len(known) == len(costs) else None,
        sum(info.context_tokens for info in infos),
        max((info.last_used_at for info in infos), default=None),
    )
