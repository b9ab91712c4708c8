"""What the drop-in needs of each colour: work beside the request, signals, and queues of events."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from assistantguard._asyncio import AsyncioDriver, AsyncioPort
from assistantguard._blocking import BlockingDriver, BlockingPort, block_on
from assistantguard._calling import ToolCalling
from assistantguard._threads import begin_in_thread
from assistantguard.backends.port import ClientPort
from assistantguard.engine.ports import Driver

__all__ = ["AsyncioColour", "BlockingColour", "Colour", "Queue", "Signal"]

Work = Callable[[], Coroutine[Any, Any, None]]


class Signal(Protocol):
    """Something that happens once."""

    def set(self) -> None:
        """It happened. May be called again."""
        ...

    async def wait(self, seconds: float) -> bool:
        """Wait for it, for `seconds` at most; return whether it happened."""
        ...


class Queue(Protocol):
    """Events on their way from a run to who reads them."""

    def put(self, value: Any) -> None:
        """Add one; never waits."""
        ...

    async def get(self) -> Any:
        """The next one, once there is one."""
        ...


class Colour(Protocol):
    """Blocking, or asyncio."""

    driver: Driver

    def port(self, client: Any) -> ClientPort:
        """The calls of a client of this colour."""
        ...

    def spawn(self, work: Work) -> Callable[[], None]:
        """Begin `work` beside the caller; return what cancels it where that can be done from outside."""
        ...

    def signal(self) -> Signal:
        """A new signal."""
        ...

    def queue(self) -> Queue:
        """A new queue."""
        ...


class _BlockingSignal:
    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


class _BlockingQueue:
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, value: Any) -> None:
        self._queue.put(value)

    async def get(self) -> Any:
        return self._queue.get()


class BlockingColour:
    """Runs are driven by threads."""

    def __init__(self, calling: ToolCalling) -> None:
        self.driver: Driver = BlockingDriver(calling)

    def port(self, client: Any) -> ClientPort:
        """See `Colour.port`."""
        return BlockingPort(client)

    def spawn(self, work: Work) -> Callable[[], None]:
        """See `Colour.spawn`. A thread cannot be cancelled from outside."""
        begin_in_thread(lambda: block_on(work()))
        return lambda: None

    def signal(self) -> Signal:
        """See `Colour.signal`."""
        return _BlockingSignal()

    def queue(self) -> Queue:
        """See `Colour.queue`."""
        return _BlockingQueue()


class _AsyncioSignal:
    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        return self._event.is_set()


class _AsyncioQueue:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, value: Any) -> None:
        self._queue.put_nowait(value)

    async def get(self) -> Any:
        return await self._queue.get()


class AsyncioColour:
    """Runs are driven by tasks of the loop that asked for them."""

    def __init__(self, calling: ToolCalling, cleanup_timeout: float) -> None:
        self.driver: Driver = AsyncioDriver(calling, cleanup_timeout)
        self._tasks: set[asyncio.Task[None]] = set()

    def port(self, client: Any) -> ClientPort:
        """See `Colour.port`."""
        return AsyncioPort(client)

    def spawn(self, work: Work) -> Callable[[], None]:
        """See `Colour.spawn`."""
        begun = False

        async def whole() -> None:
            nonlocal begun
            begun = True
            await work()

        task = asyncio.ensure_future(whole())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            if begun:  # else it would end without a word: the run looks for its own cancellation when it begins
                task.cancel()

        return cancel

    async def finish(self, seconds: float) -> None:
        """Let what was spawned end for so many seconds, then cancel the rest and see it end."""
        until = asyncio.get_running_loop().time() + seconds
        while self._tasks and (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(set(self._tasks), timeout=left)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    def signal(self) -> Signal:
        """See `Colour.signal`."""
        return _AsyncioSignal()

    def queue(self) -> Queue:
        """See `Colour.queue`."""
        return _AsyncioQueue()
