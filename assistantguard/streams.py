"""Streamed turns: context managers over what the engine tells as it happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from types import TracebackType

from typing_extensions import Self

from assistantguard.errors import ConfigurationError
from assistantguard.models import AttemptFailed, Reply, ReplyReady, StreamEvent, TextDelta

__all__ = ["AsyncRunStream", "RunStream"]


class _Following:
    """What both colours keep while a stream goes on."""

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._text_of: int | None = None
        self._fresh = False

    @property
    def reply(self) -> Reply:
        """The settled reply, as `AssistantGuard.chat` would have returned it.

        Raises:
            ConfigurationError: The stream has not ended, or ended in an error.
        """
        if self._reply is None:
            raise ConfigurationError("the stream has no reply: read it to its end first, or ask until_done() for it")
        return self._reply

    def _note(self, event: StreamEvent) -> None:
        if isinstance(event, ReplyReady):
            self._reply = event.reply

    def _texts(self, event: StreamEvent, separator: str) -> Iterator[str]:
        """What `event` adds to a plain text, set off from the text of another answer."""
        if isinstance(event, AttemptFailed) and event.discarded_characters:
            self._fresh = True
        if isinstance(event, TextDelta):
            if self._text_of is not None and (self._fresh or self._text_of != event.step):
                yield separator
            self._text_of, self._fresh = event.step, False
            yield event.text


class RunStream(_Following):
    """A turn that tells what happens. Made by `AssistantGuard.stream`.

    ::

        with bot.stream("Where is my order?") as stream:
            for text in stream.text_deltas():
                print(text, end="", flush=True)
        print(stream.reply.cost)

    Nothing is sent before the first event is asked for. Leaving the ``with`` block early ends the run: it is cancelled,
    put on the books and the thread is healed.
    """

    def __init__(self, events: Generator[StreamEvent, None, None]) -> None:
        super().__init__()
        self._events = events

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[StreamEvent]:
        return self

    def __next__(self) -> StreamEvent:
        event = next(self._events)
        self._note(event)
        return event

    def text_deltas(self, separator: str = "\n\n") -> Iterator[str]:
        """The model's text in pieces, and nothing else.

        Args:
            separator: Put between texts that are not one: before and after tool calls, and where an attempt failed
                after it had shown text.
        """
        for event in self:
            yield from self._texts(event, separator)

    def until_done(self) -> Reply:
        """Read the rest and return the reply."""
        for _ in self:
            continue
        return self.reply

    def close(self) -> None:
        """End the run if it has not ended. Closing again does nothing."""
        self._events.close()


class AsyncRunStream(_Following):
    """A turn that tells what happens. Made by `AsyncAssistantGuard.stream`; see `RunStream`."""

    def __init__(self, events: AsyncGenerator[StreamEvent, None]) -> None:
        super().__init__()
        self._events = events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        event = await self._events.__anext__()
        self._note(event)
        return event

    async def text_deltas(self, separator: str = "\n\n") -> AsyncIterator[str]:
        """The model's text in pieces, and nothing else. See `RunStream.text_deltas`."""
        async for event in self:
            for text in self._texts(event, separator):
                yield text

    async def until_done(self) -> Reply:
        """Read the rest and return the reply."""
        async for _ in self:
            continue
        return self.reply

    async def close(self) -> None:
        """End the run if it has not ended. Closing again does nothing."""
        await self._events.aclose()
