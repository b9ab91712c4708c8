"""`bot.threads`: what users can do with their threads, in both colours."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from assistantguard._blocking import block_on
from assistantguard._thread_changes import DeletedThread, ThreadChanges, ThreadStatistics
from assistantguard._wanted import check_limit, check_tags, check_thread, check_user
from assistantguard.models.names import check_name
from assistantguard.storage.threads import ThreadFilter, ThreadInfo

if TYPE_CHECKING:
    from assistantguard._thread_book import ThreadBook
    from assistantguard.guarded_thread import AsyncGuardedThread, GuardedThread

__all__ = ["AsyncUserThreads", "DeletedThread", "ThreadInfo", "ThreadStatistics", "UserThreads"]

_Threads = list[ThreadInfo]


class UserThreads:
    """The threads of users: `AssistantGuard.threads`.

    Every method is for one user, and reaches no thread of another: that one is not found, by id or by name, and the
    error does not tell whether it exists. The user None stands for the application's own threads. A thread is named by
    its id, by its name, or by an object that `AssistantGuard.thread` or `list` gave.

    Raises:
        ConfigurationError: A word is no name: the message says which, where and what is allowed.
        ThreadNotFound: The user has no such thread.
    """

    def __init__(self, book: ThreadBook) -> None:
        self._changes = ThreadChanges(book)

    def search(
        self,
        user: str | None,
        text: str = "",
        *,
        tag: str | None = None,
        archived: bool | None = False,
        limit: int = 100,
        after: str | None = None,
    ) -> _Threads:
        """Threads whose name, or one of whose tags, contains a text.

        Args:
            user: Whose.
            text: In any case; every character stands for itself. An empty one is in all.
            tag: A tag that they have, in any case.
            archived: As for `list`.
            limit: As for `list`.
            after: As for `list`.
        """
        return block_on(self._changes.listed(_search(user, text, tag, archived, limit), after))

    def rename(self, user: str | None, thread: str | GuardedThread | ThreadInfo, name: str) -> ThreadInfo:
        """Give a thread another name.

        Raises:
            ThreadNameTaken: The user has another thread of that name.
            TooManyThreads: The thread had no name, and the user has as many with one as he may.
        """
        return block_on(self._changes.rename(user, check_thread(thread), name))

    def tag(
        self,
        user: str | None,
        thread: str | GuardedThread | ThreadInfo,
        add: Collection[str] = (),
        remove: Collection[str] = (),
    ) -> ThreadInfo:
        """Add tags to a thread, and remove others."""
        return block_on(self._changes.tag(user, check_thread(thread), add, remove))

    def switch(self, user: str, thread: str | GuardedThread | ThreadInfo) -> ThreadInfo:
        """Make a thread the user's current one, which ``bot.thread(user=…)`` gives.

        Raises:
            ThreadArchived: It is archived.
        """
        return block_on(self._changes.switch(user, check_thread(thread)))

    def archive(self, user: str | None, thread: str | GuardedThread | ThreadInfo) -> ThreadInfo:
        """Put a thread away. It takes no messages until it is restored, and is no longer the user's current one."""
        return block_on(self._changes.archive(user, check_thread(thread)))

    def restore(self, user: str | None, thread: str | GuardedThread | ThreadInfo) -> ThreadInfo:
        """Take an archived thread into use again.

        Raises:
            TooManyThreads: The user has as many named threads in use as he may.
        """
        return block_on(self._changes.restore(user, check_thread(thread)))

    def delete(
        self,
        user: str | None,
        thread: str | GuardedThread | ThreadInfo,
        *,
        scrub: bool = False,
        vector_store: bool = False,
    ) -> DeletedThread:
        """Delete a thread, with its conversation at the server. What stands in the books stays.

        Args:
            user: Whose.
            thread: Which one.
            scrub: Whether the conversation's items are deleted, too, which OpenAI otherwise keeps.
            vector_store: Whether its vector store is deleted where no other thread of this database has it. The files
                in it stay.

        Raises:
            ThreadBusy: Another process drives it.
        """
        return block_on(self._changes.delete(user, check_thread(thread), scrub=scrub, vector_store=vector_store))

    def merge(
        self,
        user: str | None,
        into: str | GuardedThread | ThreadInfo,
        other: str | GuardedThread | ThreadInfo,
    ) -> ThreadInfo:
        """Make two threads one: what both would carry over begins a new generation of `into`, and `other` is deleted.

        Turns, tokens and costs are added up; tags and files are those of both. How much is carried is what the guard's
        `ThreadRotation` says.

        Raises:
            ThreadBusy: Another process drives one of them.
            ThreadArchived: `into` is archived.
            RunFailed: The server refused; both are as they were.
        """
        return block_on(self._changes.merge(user, check_thread(into), check_thread(other)))

    def statistics(
        self, user: str | None = None, thread: str | GuardedThread | ThreadInfo | None = None
    ) -> ThreadStatistics:
        """Turns, tokens, cost, context and last use of a thread, or of all of a user's together, archived ones too."""
        return block_on(self._changes.statistics(user, None if thread is None else check_thread(thread)))

    def list(
        self, user: str | None = None, *, archived: bool | None = False, limit: int = 100, after: str | None = None
    ) -> _Threads:
        """A user's threads, the one used last first.

        Args:
            user: Whose.
            archived: True for archived ones only, None for both.
            limit: How many at most, up to 1,000.
            after: The last thread of the page before.
        """
        return block_on(self._changes.listed(_filter(user, archived, limit), after))


class AsyncUserThreads:
    """The threads of users: `AsyncAssistantGuard.threads`. See `UserThreads`."""

    def __init__(self, book: ThreadBook) -> None:
        self._changes = ThreadChanges(book)

    async def search(
        self,
        user: str | None,
        text: str = "",
        *,
        tag: str | None = None,
        archived: bool | None = False,
        limit: int = 100,
        after: str | None = None,
    ) -> _Threads:
        """See `UserThreads.search`."""
        return await self._changes.listed(_search(user, text, tag, archived, limit), after)

    async def rename(self, user: str | None, thread: str | AsyncGuardedThread | ThreadInfo, name: str) -> ThreadInfo:
        """See `UserThreads.rename`."""
        return await self._changes.rename(user, check_thread(thread), name)

    async def tag(
        self,
        user: str | None,
        thread: str | AsyncGuardedThread | ThreadInfo,
        add: Collection[str] = (),
        remove: Collection[str] = (),
    ) -> ThreadInfo:
        """See `UserThreads.tag`."""
        return await self._changes.tag(user, check_thread(thread), add, remove)

    async def switch(self, user: str, thread: str | AsyncGuardedThread | ThreadInfo) -> ThreadInfo:
        """See `UserThreads.switch`."""
        return await self._changes.switch(user, check_thread(thread))

    async def archive(self, user: str | None, thread: str | AsyncGuardedThread | ThreadInfo) -> ThreadInfo:
        """See `UserThreads.archive`."""
        return await self._changes.archive(user, check_thread(thread))

    async def restore(self, user: str | None, thread: str | AsyncGuardedThread | ThreadInfo) -> ThreadInfo:
        """See `UserThreads.restore`."""
        return await self._changes.restore(user, check_thread(thread))

    async def delete(
        self,
        user: str | None,
        thread: str | AsyncGuardedThread | ThreadInfo,
        *,
        scrub: bool = False,
        vector_store: bool = False,
    ) -> DeletedThread:
        """See `UserThreads.delete`."""
        return await self._changes.delete(user, check_thread(thread), scrub=scrub, vector_store=vector_store)

    async def merge(
        self,
        user: str | None,
        into: str | AsyncGuardedThread | ThreadInfo,
        other: str | AsyncGuardedThread | ThreadInfo,
    ) -> ThreadInfo:
        """See `UserThreads.merge`."""
        return await self._changes.merge(user, check_thread(into), check_thread(other))

    async def statistics(
        self, user: str | None = None, thread: str | AsyncGuardedThread | ThreadInfo | None = None
    ) -> ThreadStatistics:
        """See `UserThreads.statistics`."""
        return await self._changes.statistics(user, None if thread is None else check_thread(thread))

    async def list(
        self, user: str | None = None, *, archived: bool | None = False, limit: int = 100, after: str | None = None
    ) -> _Threads:
        """See `UserThreads.list`."""
        return await self._changes.listed(_filter(user, archived, limit), after)


def _filter(user: str | None, archived: bool | None, limit: int) -> ThreadFilter:
    return ThreadFilter(check_user(user), archived=archived, limit=check_limit(limit))


def _search(user: str | None, text: str, tag: str | None, archived: bool | None, limit: int) -> ThreadFilter:
    if text != "":
        check_name("search text", text)
    tags = () if tag is None else check_tags([tag])
    return ThreadFilter(
        check_user(user),
        archived=archived,
        text=text,
        tag=tags[0] if tags else None,
        limit=check_limit(limit),
    )
