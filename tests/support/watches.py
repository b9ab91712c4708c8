"""What is watched in every test: that no event loop is blocked, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blockbuster.blockbuster
import pytest
from blockbuster import BlockBuster, BlockingError

import assistantguard

__all__ = ["LoopWatch", "check_tasks", "threads_left"]

_PACKAGE = str(Path(assistantguard.__file__).parent)
_ENDING = 60.0
"""Seconds that a thread which is on its way out may take."""
_ROUNDS = 10
"""Rounds of an event loop that a task which is on its way out may take."""

_LET_BE = ["assistantguard.sandbox", "assistantguard._connections"]
"""Modules that may block a loop, or let others do so: the other side, and what its server's calls pass through."""


class LoopWatch:
    """Notes blocking calls that the package makes, or lets others make, on an event loop.

    The call raises `blockbuster.BlockingError` where it is made. Since that may be taken for a tool's or a sink's own
    failure, it is noted too. The sandbox is the other side, the blocking guard blocks by design, and log handlers are
    the application's own: they are let be.
    """

    def __init__(self) -> None:
        self._found: list[str] = []

    def take(self) -> list[str]:
        """What was found since the last time: each call, and its way through the package, innermost first."""
        found, self._found = self._found, []
        return found

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch, in all threads."""
        watch = self

        class Noted(BlockingError):
            def __init__(self, func: str) -> None:
                super().__init__(func)
                frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(_PACKAGE)]
                places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
                watch._found.append(f"{func} in {', '.join(places)}")

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # its older versions leave a directory open
            detector = BlockBuster("assistantguard", excluded_modules=_LET_BE)
        for function in detector.functions.values():
            function.can_block_in("assistantguard/_blocking.py", "block_on")
            function.can_block_in("logging/__init__.py", "emit")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blockbuster.blockbuster, "BlockingError", Noted)
            detector.activate()
            try:
                yield
            finally:
                detector.deactivate()


def threads_left(before: set[threading.Thread]) -> list[str]:
    """Threads that keep a program from ending and were not there before; one that is ending is waited for."""
    until = time.monotonic() + _ENDING
    extra = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in extra:
        thread.join(max(0.0, until - time.monotonic()))
    return [thread.name for thread in extra if thread.is_alive()]


def check_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """See to it that a loop which is about to be closed has nothing left to do.

    Raises:
        AssertionError: Tasks are left. They are cancelled.
    """

    async def others() -> list[asyncio.Task[Any]]:
        left: list[asyncio.Task[Any]] = []
        for _ in range(_ROUNDS):  # what has just been told to end does so
            await asyncio.sleep(0)
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            if not left:
                break
        # A loop closes generators that were collected, in tasks of its own. Connections that they had take a while.
        closing = [task for task in left if type(task.get_coro()).__name__ == "async_generator_athrow"]
        if closing:
            await asyncio.wait(closing, timeout=_ENDING)
        return [task for task in left if not task.done()]

    async def cancel(tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    left = loop.run_until_complete(others())
    if left:
        names = [repr(task) for task in left]
        loop.run_until_complete(cancel(left))
        raise AssertionError(f"tasks are left: {names}")
