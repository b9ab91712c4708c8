"""A conversation of a guard, in both colours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from assistantguard._blocking import block_on
from assistantguard._checks import Message, check_key, check_message, until
from assistantguard._wanted import Wanted
from assistantguard.errors import ConfigurationError
from assistantguard.models import Reply, StreamEvent, ThreadState
from assistantguard.streams import AsyncRunStream, RunStream

if TYPE_CHECKING:
    from assistantguard._thread_book import Place, ThreadBook

__all__ = ["AsyncGuardedThread", "GuardedThread"]

_Checked = str | list[dict[str, Any]]


class GuardedThread:
    """One conversation of an `AssistantGuard`. Made by `AssistantGuard.thread`."""

    def __init__(self, book: ThreadBook, place: Place) -> None:
        self._book = book
        self._place = place

    @property
    def id(self) -> str:
        """The conversation's stable id; rotations do not change it."""
        return self._place.id

    @property
    def user(self) -> str | None:
        """Whose it is; None for the application's own."""
        return self._place.user

    @property
    def state(self) -> ThreadState:
        """Turns, context size, generation and usage. Read it, do not change it.

        As they are now; where threads are kept in a database, as they were when this process last had the thread.
        """
        return self._place.state

    def chat(self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None) -> Reply:
        """Answer a message. Calls on one thread take turns in the order they came. See `AssistantGuard.chat`."""
        checked, end = check_message(message), until(deadline)
        return block_on(self._book.turn(self._place, checked, end, check_key(idempotency_key)))

    def stream(
        self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None
    ) -> RunStream:
        """Answer a message and tell what happens as it happens. See `AssistantGuard.stream`."""
        return RunStream(self._events(check_message(message), until(deadline), check_key(idempotency_key)))

    def heal(self) -> bool:
        """Make the thread usable, which someone else may have broken, and learn usage that was told late.

        Function calls without an output are answered, a half turn of ours is removed. A conversation that cannot be
        healed is left for a new one, which the ``thread.rotated`` event says.

        Returns:
            Whether anything was done.

        Raises:
            RunFailed: The server refused.
            ThreadRefused: The thread cannot be had.
        """
        return block_on(self._book.heal(self._place))

    def attach_files(self, file_ids: Sequence[str]) -> str:
        """Make files searchable on this thread, in addition to those it has; return the vector store's id.

        The same set of files is embedded once: a store that holds it already is found and used again. The store stays
        attached over rotations, and is built again when it has expired.

        Args:
            file_ids: Ids of uploaded files (``file-…``).

        Raises:
            ConfigurationError: There are no ids, or one is no text.
            VectorStoreFailed: A file could not be embedded, or not in time.
            RunFailed: The server refused.
            ThreadRefused: The thread cannot be had.
        """
        return block_on(self._book.attach_files(self._place, file_ids))

    def _events(self, message: _Checked, end: float | None, key: str | None) -> Generator[StreamEvent, None, None]:
        events = self._book.stream(self._place, message, end, key)
        try:
            while True:
                try:
                    event = block_on(events.__anext__())
                except StopAsyncIteration:
                    return
                yield event
        finally:
            block_on(events.aclose())


class AsyncGuardedThread:
    """One conversation of an `AsyncAssistantGuard`. Made by `AsyncAssistantGuard.thread`; see `GuardedThread`.

    Where threads are kept in a database, a user's thread is looked up at its first use, or when it is awaited:
    ``thread = await bot.thread(user="u-42", topic="billing")``.
    """

    def __init__(self, book: ThreadBook, place: Place | Wanted) -> None:
        self._book = book
        self._place = place

    def __await__(self) -> Generator[Any, None, Self]:
        return self._found().__await__()

    @property
    def id(self) -> str:
        """The conversation's stable id; rotations do not change it.

        Raises:
            ConfigurationError: The thread was not looked up yet.
        """
        return self._known().id

    @property
    def user(self) -> str | None:
        """Whose it is; None for the application's own."""
        return self._place.user

    @property
    def state(self) -> ThreadState:
        """Turns, context size, generation and usage. See `GuardedThread.state`.

        Raises:
            ConfigurationError: The thread was not looked up yet.
        """
        return self._known().state

    async def chat(
        self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None
    ) -> Reply:
        """Answer a message. Calls on one thread take turns in the order they came. See `AssistantGuard.chat`."""
        checked, end, name = check_message(message), until(deadline), check_key(idempotency_key)
        return await self._book.turn(await self._here(), checked, end, name)

    def stream(
        self, message: Message, *, deadline: float | None = None, idempotency_key: str | None = None
    ) -> AsyncRunStream:
        """Answer a message and tell what happens as it happens. See `AssistantGuard.stream`."""
        return AsyncRunStream(self._events(check_message(message), until(deadline), check_key(idempotency_key)))

    async def heal(self) -> bool:
        """Make the thread usable. See `GuardedThread.heal`."""
        return await self._book.heal(await self._here())

    async def attach_files(self, file_ids: Sequence[str]) -> str:
        """Make files searchable on this thread. See `GuardedThread.attach_files`."""
        return await self._book.attach_files(await self._here(), file_ids)

    async def _found(self) -> Self:
        await self._here()
        return self

    async def _here(self) -> Place:
        """The thread, looked up where it was not yet."""
        if isinstance(self._place, Wanted):
            self._place = await self._book.find(self._place)
        return self._place

    def _known(self) -> Place:
        if isinstance(self._place, Wanted):
            raise ConfigurationError(
                "the thread was not looked up yet: await it first, thread = await bot.thread(user=…, topic=…)"
            )
        return self._place

    async def _events(self, message: _Checked, end: float | None, key: str | None) -> AsyncGenerator[StreamEvent, None]:
        async with aclosing(self._book.stream(await self._here(), message, end, key)) as events:
            async for event in events:
                yield event
